package wire

// The faults that only tests name.
const (
	TooShort         = tooShort
	TooLong          = tooLong
	BadMagic         = badMagic
	BadVersion       = badVersion
	BadKind          = badKind
	BadLength        = badLength
	BadMessageLength = badMessageLength
	BadFlags         = badFlags
	BadReserved      = badReserved
	NoDiscriminator  = noDiscriminator
	NoSender         = noSender
	NoIncarnation    = noIncarnation
	NoSequence       = noSequence
	BadInstant       = badInstant
	BadPeriod        = badPeriod
	BadEcho          = badEcho
	BadVerdict       = badVerdict
	BadFollowUp      = badFollowUp
	BadMessage       = badMessage
)
