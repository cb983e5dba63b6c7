/* turns.S: a multiboot guest whose result depends on every instruction's place in
 * time.  The bootstrap processor starts the others, takes interrupts from the
 * 8254 (through the 8259), from its APIC timer, and IPIs from the others, which
 * it sends on; every interrupt mixes the TSC and its source into a checksum.
 * After ROUNDS interrupts it prints the checksum and leaves by port 0xf4.
 */
#define ROUNDS 3000
#define APIC 0xfee00000
#define TRAMPOLINE 0x8000

	.section .text
	.long 0x1badb002, 0, -0x1badb002
	.globl _start
_start:
	cli
	mov $stack_top, %esp
	lgdt gdtr
	ljmp $8, $1f
1:	mov $16, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	lidt idtr
	movl $idt, %edi
	/* Gates 0x20 (8254), 0x40 (APIC timer), 0x41 (IPI). */
	mov $pit_entry, %eax
	mov $0x20, %ecx
	call gate
	mov $timer_entry, %eax
	mov $0x40, %ecx
	call gate
	mov $ipi_entry, %eax
	mov $0x41, %ecx
	call gate
	call start_8259
	call start_8254
	movl $0x1ff, APIC + 0xf0
	movl $0x700, APIC + 0x350
	movl $0x20040, APIC + 0x320
	movl $3, APIC + 0x3e0
	movl $777, APIC + 0x380
	call start_others
	sti
2:	cmpl $ROUNDS, rounds
	jae done
	testl $1, rounds
	jz 3f
	hlt
3:	lock incl shared
	jmp 2b

/* gate: vector ecx to handler eax */
gate:
	mov %ax, (%edi, %ecx, 8)
	movw $8, 2(%edi, %ecx, 8)
	movw $0x8e00, 4(%edi, %ecx, 8)
	shr $16, %eax
	mov %ax, 6(%edi, %ecx, 8)
	ret

start_8259:
	mov $0x11, %al
	out %al, $0x20
	mov $0x20, %al
	out %al, $0x21
	mov $4, %al
	out %al, $0x21
	mov $1, %al
	out %al, $0x21
	mov $0xfe, %al
	out %al, $0x21
	ret

start_8254:
	mov $0x34, %al
	out %al, $0x43
	mov $5, %al
	out %al, $0x40
	xor %al, %al
	out %al, $0x40
	ret

start_others:
	mov $trampoline, %esi
	mov $TRAMPOLINE, %edi
	mov $(trampoline_end - trampoline), %ecx
	rep movsb
	movl $0xc4500, APIC + 0x300
	movl $0xc4600 + TRAMPOLINE / 4096, APIC + 0x300
	ret

/* source: mixes al and the TSC into sum */
mix:
	mov %eax, %ecx
	rdtsc
	add %ecx, %eax
	xor sum, %eax
	imul $0x9e3779b1, %eax, %eax
	rol $7, %eax
	add shared, %eax
	mov %eax, sum
	incl rounds
	ret

pit_entry:
	pusha
	mov $1, %eax
	call mix
	mov $0x20, %al
	out %al, $0x20
	popa
	iret
timer_entry:
	pusha
	mov $2, %eax
	call mix
	movl $0, APIC + 0xb0
	popa
	iret
ipi_entry:
	pusha
	mov $3, %eax
	call mix
	movl $0, APIC + 0xb0
	popa
	iret

done:
	cli
	mov sum, %ebx
	mov $8, %ecx
4:	rol $4, %ebx
	mov %ebx, %eax
	and $15, %eax
	mov hex(%eax), %al
	mov $0x3f8, %dx
	out %al, %dx
	loop 4b
	mov $10, %al
	out %al, %dx
	xor %eax, %eax
	mov $0xf4, %dx
	out %eax, %dx
	hlt

/* The others: count, and send an IPI to processor 0 now and then. */
	.code16
trampoline:
	cli
	lgdtl %cs:(tramp_gdtr - trampoline)
	mov $1, %eax
	mov %eax, %cr0
	ljmpl $8, $others
tramp_gdtr:
	.word gdt_end - gdt - 1
	.long gdt
trampoline_end:
	.code32
others:
	mov $16, %ax
	mov %ax, %ds
	movl $0x1ff, APIC + 0xf0
	mov APIC + 0x20, %ebx
	shr $24, %ebx
	imul $37, %ebx, %ebx
	add $400, %ebx
5:	mov %ebx, %ecx
6:	lock incl shared
	pause
	loop 6b
	movl $0, APIC + 0x310
	movl $0x4041, APIC + 0x300
	jmp 5b

	.section .data
	.align 8
gdt:	.quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_end:
gdtr:	.word gdt_end - gdt - 1
	.long gdt
idtr:	.word 0x7ff
	.long idt
hex:	.ascii "0123456789abcdef"
	.align 4
sum:	.long 0
rounds:	.long 0
shared:	.long 0
	.section .bss
	.align 16
idt:	.skip 0x800
	.skip 4096
stack_top:
