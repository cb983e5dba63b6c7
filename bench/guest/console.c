/* console.c: the serial port, exceptions, giving up: what every guest needs. */
#include "guest.h"

#define COM1 0x3f8
#define COM1_LSR (COM1 + 5)

static struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idt_pointer;
static struct { uint16_t low, selector, flags, mid; uint32_t high, zero; } idt[32];

/* -- console ------------------------------------------------------------------------ */
static void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile ("outb %0, %1" : : "a" (v), "Nd" (port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile ("inb %1, %0" : "=a" (v) : "Nd" (port));
	return v;
}

/* 115200 baud, 8 data bits, no parity. */
static void init_console(void)
{
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 0x80);
	out8(COM1, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 3);
}

void say(const char *s)
{
	for (; *s; s++) {
		for (unsigned n = 0; n < 100000 && !(in8(COM1_LSR) & 0x20); n++)
			;
		out8(COM1, (uint8_t)*s);
	}
}

/* What was said is sent: the machine may go away. */
void drain(void)
{
	for (unsigned n = 0; n < 100000 && !(in8(COM1_LSR) & 0x40); n++)
		;
}

void say_number(const char *name, uint64_t v, unsigned base)
{
	char text[24], *p = text + sizeof text - 1;

	*p = 0;
	do {
		*--p = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	say(name);
	say(base == 16 ? "0x" : "");
	say(p);
}

void give_up(const char *why)
{
	say("\nFATAL ");
	say(why);
	say("\nDONE fail\n");
	drain();
	power_off(1);
}

/* -- exceptions ---------------------------------------------------------------------- */
static void init_idt(void)
{
	for (unsigned n = 0; n < 32; n++) {
		uint64_t at = (uint64_t)exception_stubs + 16ul * n;

		idt[n].low = (uint16_t)at;
		idt[n].selector = 8;
		idt[n].flags = 0x8e00;
		idt[n].mid = (uint16_t)(at >> 16);
		idt[n].high = (uint32_t)(at >> 32);
	}
	idt_pointer.limit = sizeof idt - 1;
	idt_pointer.base = (uint64_t)idt;
	__asm__ volatile ("lidt %0" : : "m" (idt_pointer));
}

uint64_t idt_base(void)
{
	return (uint64_t)idt;
}

int guest_exception(uint64_t vector, uint64_t first, uint64_t second, uint64_t cr2)
{
	say_number("\nEXCEPTION ", vector, 10);
	say_number(" stack ", first, 16);
	say_number(" ", second, 16);
	say_number(" cr2 ", cr2, 16);
	say("\nDONE fail\n");
	drain();
	return 1;
}

void init_machine(void)
{
	init_console();
	init_idt();
}
