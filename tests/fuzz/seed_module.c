/* A module's table and struct in small: a seed for fuzz_extract. */
#define ROL6(e) (((e) << 6 | (e) >> 10) & 0xffff)

const unsigned short vmcs12_field_offsets[2400] = {
	[ROL6(0x681e)] = 40, [ROL6(0x6820)] = 48, [ROL6(0x2000)] = 56,
	[ROL6(0x2001)] = 60,
};

struct vmcs12 {
	unsigned hdr, abort, launch_state, padding[7];
	unsigned long guest_rip, guest_rflags, io_bitmap_a;
} vmcs12_of_a_seed;
