/* start.S: entry of the guest, its descriptor tables, and the way into and out of
 * L2.  nstate starts an ELF64 image in 64-bit mode with 4 GiB mapped one to one.
 */
	.section .text.start, "ax"
	.globl _start
_start:
	lea stack_top(%rip), %rsp
	lgdt gdtr(%rip)
	pushq $0x10
	lea 1f(%rip), %rax
	push %rax
	lretq
1:	mov $0x18, %eax
	mov %eax, %ds
	mov %eax, %es
	mov %eax, %ss
	/* The TSS's base, in the descriptor at 0x20. */
	lea tss(%rip), %rax
	mov %ax, gdt + 0x22(%rip)
	shr $16, %rax
	mov %al, gdt + 0x24(%rip)
	mov %ah, gdt + 0x27(%rip)
	mov $0x20, %eax
	ltr %ax
	call guest_main
	mov %eax, %edi
	.globl leave
leave:	mov %edi, %eax
	out %al, $0xf4
	jmp leave

/* int run_l2(int resume): general registers from and to l2_regs.  0: left L2 by
 * an exit; else RFLAGS of a VMLAUNCH or VMRESUME that failed. */
	.text
	.globl run_l2
run_l2:
	push %rbx
	push %rbp
	push %r12
	push %r13
	push %r14
	push %r15
	mov $0x6c14, %eax	/* HOST_RSP */
	vmwrite %rsp, %rax
	lea 2f(%rip), %rcx
	mov $0x6c16, %eax	/* HOST_RIP */
	vmwrite %rcx, %rax
	cmp $0, %edi
	mov l2_regs + 0, %rax
	mov l2_regs + 8, %rcx
	mov l2_regs + 16, %rdx
	mov l2_regs + 24, %rbx
	mov l2_regs + 40, %rbp
	mov l2_regs + 48, %rsi
	mov l2_regs + 56, %rdi
	mov l2_regs + 64, %r8
	mov l2_regs + 72, %r9
	mov l2_regs + 80, %r10
	mov l2_regs + 88, %r11
	mov l2_regs + 96, %r12
	mov l2_regs + 104, %r13
	mov l2_regs + 112, %r14
	mov l2_regs + 120, %r15
	jne 1f
	vmlaunch
	jmp 3f
1:	vmresume
3:	pushf
	pop %rax
	jmp 4f
2:	mov %rax, l2_regs + 0
	mov %rcx, l2_regs + 8
	mov %rdx, l2_regs + 16
	mov %rbx, l2_regs + 24
	mov %rbp, l2_regs + 40
	mov %rsi, l2_regs + 48
	mov %rdi, l2_regs + 56
	mov %r8, l2_regs + 64
	mov %r9, l2_regs + 72
	mov %r10, l2_regs + 80
	mov %r11, l2_regs + 88
	mov %r12, l2_regs + 96
	mov %r13, l2_regs + 104
	mov %r14, l2_regs + 112
	mov %r15, l2_regs + 120
	xor %eax, %eax
4:	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbp
	pop %rbx
	ret

/* L2's interrupt handlers: count, keep the error code, return. */
	.globl l2_handler, l2_handler_error
l2_handler_error:
	popq l2_error(%rip)
l2_handler:
	incl l2_handled(%rip)
	iretq

	.data
	.balign 16
	.globl gdt, tss, gdtr
gdt:	.quad 0, 0
	.quad 0x00af9b000000ffff, 0x00cf93000000ffff
	.quad 0x0000890000000067, 0
gdtr:	.word . - gdt - 1
	.quad gdt
	.section .note.GNU-stack, "", @progbits
	.bss
	.balign 16
tss:	.skip 104
	.balign 4096
stack:	.skip 16384
stack_top:
