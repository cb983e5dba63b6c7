/* entry.S: VM entries and exits of the guest's L1, and the loops of VMX work. */
#include "bench.h"

	.text

/* -- L1: 4 accesses a round --------------------------------------------------------- */
	.globl l1_vmread                /* 6n + 5 */
	.p2align 6
l1_vmread:
	movl $ENC_GUEST_RIP, %ecx
	movl $ENC_GUEST_RSP, %edx
	movl $ENC_GUEST_CR3, %r8d
	movl $ENC_EXIT_REASON, %r9d
1:	vmread %rcx, %rax
	vmread %rdx, %r10
	vmread %r8, %r11
	vmread %r9, %rsi
	subq $1, %rdi
	jnz 1b
	ret

	.globl l1_vmwrite               /* 6n + 6 */
	.p2align 6
l1_vmwrite:
	movl $ENC_GUEST_SYSENTER_ESP, %ecx
	movl $ENC_GUEST_SYSENTER_EIP, %edx
	movl $ENC_GUEST_PENDING_DBG, %r8d
	movl $ENC_HOST_RIP, %r9d
	xorl %eax, %eax
1:	vmwrite %rax, %rcx
	vmwrite %rax, %rdx
	vmwrite %rax, %r8
	vmwrite %rcx, %r9
	subq $1, %rdi
	jnz 1b
	ret

/* -- L2 --------------------------------------------------------------------------------- */
	.globl l2_start                 /* R12: what to call */
	.p2align 6
l2_start:
	call *%r12
	vmcall
	hlt

	.globl l2_cpuid                 /* 4n + 3 */
	.p2align 6
l2_cpuid:
	movq %rbx, %rsi
1:	xorl %eax, %eax
	cpuid
	subq $1, %rdi
	jnz 1b
	movq %rsi, %rbx
	ret

	.globl l2_vmread                /* 3n + 2 */
	.p2align 6
l2_vmread:
	movl $ENC_GUEST_CR3, %ecx
1:	vmread %rcx, %rax
	subq $1, %rdi
	jnz 1b
	ret

	.globl l2_vmwrite               /* 3n + 3 */
	.p2align 6
l2_vmwrite:
	movl $ENC_GUEST_SYSENTER_ESP, %ecx
	xorl %eax, %eax
1:	vmwrite %rax, %rcx
	subq $1, %rdi
	jnz 1b
	ret

	.globl l2_cpuid_for_ever
	.p2align 6
l2_cpuid_for_ever:
	cpuid
	jmp l2_cpuid_for_ever

/* -- entries and exits --------------------------------------------------------------- */
	.macro save_callee
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	.endm
	.macro restore_callee
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	.endm

	.globl vm_enter
	.p2align 6
vm_enter:
	save_callee
	pushq %rdi
	movl $ENC_HOST_RSP, %eax
	vmwrite %rsp, %rax
	movl $ENC_HOST_RIP, %eax
	leaq exited(%rip), %rcx
	vmwrite %rcx, %rax
enter:                                  /* RDI: struct l2 */
	movq 8(%rdi), %rcx
	movq 16(%rdi), %rdx
	movq 24(%rdi), %rbx
	movq 40(%rdi), %rbp
	movq 48(%rdi), %rsi
	movq 64(%rdi), %r8
	movq 72(%rdi), %r9
	movq 80(%rdi), %r10
	movq 88(%rdi), %r11
	movq 96(%rdi), %r12
	movq 104(%rdi), %r13
	movq 112(%rdi), %r14
	movq 120(%rdi), %r15
	movq 0(%rdi), %rax
	cmpq $0, L2_LAUNCHED(%rdi)
	movq 56(%rdi), %rdi
	je 1f
	vmresume
	jmp 2f
1:	vmlaunch
2:	xorl %eax, %eax                 /* neither came back by `exited` */
	jmp leave
	.p2align 6
exited:
	xchgq %rdi, (%rsp)
	movq %rax, 0(%rdi)
	movq %rcx, 8(%rdi)
	movq %rdx, 16(%rdi)
	movq %rbx, 24(%rdi)
	movq %rbp, 40(%rdi)
	movq %rsi, 48(%rdi)
	movq %r8, 64(%rdi)
	movq %r9, 72(%rdi)
	movq %r10, 80(%rdi)
	movq %r11, 88(%rdi)
	movq %r12, 96(%rdi)
	movq %r13, 104(%rdi)
	movq %r14, 112(%rdi)
	movq %r15, 120(%rdi)
	movq (%rsp), %rax
	movq %rax, 56(%rdi)
	movq %rdi, (%rsp)
	movq $1, L2_LAUNCHED(%rdi)
	addq $1, L2_EXITS(%rdi)
	movl $ENC_EXIT_REASON, %eax
	vmread %rax, %rcx
	movq %rcx, L2_REASON(%rdi)
	cmpq %rcx, L2_STEP_OVER(%rdi)
	jne 3f
	movl $ENC_GUEST_RIP, %eax
	vmread %rax, %rcx
	movl $ENC_INSTRUCTION_LEN, %eax
	vmread %rax, %rdx
	addq %rdx, %rcx
	movl $ENC_GUEST_RIP, %eax
	vmwrite %rcx, %rax
	jmp enter                       /* 51 instructions, VMRESUME among them */
3:	movl $1, %eax
leave:
	popq %rdi
	restore_callee
	ret

	.globl vm_spin
	.p2align 6
vm_spin:
	save_callee
	movq %rdi, %rbp
	movl $ENC_HOST_RSP, %eax
	vmwrite %rsp, %rax
	movl $ENC_HOST_RIP, %eax
	leaq 1f(%rip), %rcx
	vmwrite %rcx, %rax
	vmresume
	jmp 2f
	.p2align 6
1:	subq $1, %rbp
	jz 2f
	vmresume
2:	movq %rbp, %rax
	restore_callee
	ret
	.section .note.GNU-stack, "", @progbits
