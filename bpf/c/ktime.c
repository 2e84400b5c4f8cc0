/* Reads the clock of the other programs, so that it can be compared with the process' own. */
#include "kernel.h"

SEC("syscall") int systole_ktime(u64 *out)
{
	*out = bpf_ktime_get_ns();
	return 0;
}
