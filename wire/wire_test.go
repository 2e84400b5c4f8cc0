package wire

// sample is a header with every field set to something else.
func sample() Header {
	return Header{
		Kind: KindHeartbeat, EchoVerdict: VerdictAlive, Flags: FlagDegraded | FlagSolicit | FlagFollowUp,
		Sender: 0x0102030405060708, Destination: 0x1112131415161718,
		Incarnation: 0x2122232425262728, Sequence: 0x3132333435363738, SendInstant: 0x4142434445464748,
		Lateness: 0x51525354, Period: 0x61626364, MinReceivePeriod: 0x71727374, EchoLost: 0x81828384,
		Progress: 0x9192939495969798, EchoIncarnation: 0xA1A2A3A4A5A6A7A8, EchoSequence: 0xB1B2B3B4B5B6B7B8,
		EchoResidence: 0xC1C2C3C4C5C6C7C8, EchoDeadline: 0xD1D2D3D4, FollowUpWait: 0xE1E2E3E4,
		FollowUpSequence: 0x0F1F2F3F4F5F6F7F,
	}
}
