/* loops.S: the measured loops.  Leaf routines of the C ABI that use only
 * registers which a call may change; bench.h says how long each is. */
	.text

	.globl work_int
	.p2align 6
work_int:                       /* a multiplicative hash, no memory */
	movq %rsi, %rax
	movabsq $0xd6e8feb86659fd93, %rcx
	xorl %edx, %edx
1:	xorq %rdi, %rax
	imulq %rcx, %rax
	movq %rax, %r8
	shrq $32, %r8
	xorq %r8, %rax
	rolq $7, %rax
	addq %rax, %rdx
	leaq 3(%rdx,%r8,4), %rdx
	subq $1, %rdi
	jnz 1b
	xchgq %rdx, %rax
	ret

	.globl work_copy
	.p2align 6
work_copy:
	xorl %eax, %eax
1:	movq 0(%rsi), %rax
	movq 8(%rsi), %rcx
	movq 16(%rsi), %r8
	movq 24(%rsi), %r9
	movq %rax, 0(%rdi)
	movq %rcx, 8(%rdi)
	movq %r8, 16(%rdi)
	movq %r9, 24(%rdi)
	addq $32, %rsi
	addq $32, %rdi
	subq $1, %rdx
	jnz 1b
	ret

	.globl work_repmovs
	.p2align 6
work_repmovs:
	movq %rdx, %rcx
	rep movsq
	movq -8(%rdi), %rax
	ret

	.globl work_chase
	.p2align 6
work_chase:
	movq %rdi, %rax
1:	.rept 8
	movq (%rax), %rax
	.endr
	subq $1, %rsi
	jnz 1b
	ret

	.globl work_fill
	.p2align 6
work_fill:                      /* xorshift64* without the star */
	movq %rdx, %rax
1:	movq %rax, %rcx
	shrq $12, %rcx
	xorq %rcx, %rax
	movq %rax, %rcx
	shlq $25, %rcx
	xorq %rcx, %rax
	movq %rax, (%rdi)
	addq $8, %rdi
	rolq $27, %rax
	subq $1, %rsi
	jnz 1b
	ret

/* Insertion sorts at a falling list of gaps that ends in 0 (Shell). */
	.globl work_sort
	.p2align 6
work_sort:
1:	movq (%rdx), %rcx               /* the gap */
	addq $8, %rdx
	testq %rcx, %rcx
	jz 5f
	movq %rcx, %r8                  /* the element to insert */
2:	cmpq %rsi, %r8
	jae 1b
	movq (%rdi,%r8,8), %rax
	movq %r8, %r9
3:	movq %r9, %r10
	subq %rcx, %r10
	jb 4f
	movq (%rdi,%r10,8), %r11
	cmpq %rax, %r11
	jbe 4f
	movq %r11, (%rdi,%r9,8)
	movq %r10, %r9
	jmp 3b
4:	movq %rax, (%rdi,%r9,8)
	addq $1, %r8
	jmp 2b
5:	ret
	.section .note.GNU-stack, "", @progbits
