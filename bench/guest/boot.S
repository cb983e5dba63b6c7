/* boot.S: from Multiboot's 32-bit entry to 64-bit C with 4 KiB pages that map
 * the first 128 MiB to themselves; exceptions end the run. */
#define MAPPED_PAGES (128 << 8)
#define TABLES (MAPPED_PAGES / 512)

	.section .head, "ax"
	.p2align 2
	.long 0x1badb002, 0, -0x1badb002

	.code32
	.globl entry
entry:
	cld
	movl $stack_top, %esp
	pushl $0
	pushl %ebx
	/* The last level: page n of each table in a row. */
	movl $page_tables, %edi
	movl $3, %eax
	movl $MAPPED_PAGES, %ecx
1:	movl %eax, (%edi)
	addl $8, %edi
	addl $4096, %eax
	loop 1b
	/* The directory, then one entry each in the two tables above. */
	movl $directory, %edi
	movl $page_tables + 3, %eax
	movl $TABLES, %ecx
2:	movl %eax, (%edi)
	addl $8, %edi
	addl $4096, %eax
	loop 2b
	movl $directory + 3, pointers
	movl $pointers + 3, root
	/* PAE, CR3, EFER.LME, then paging. */
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $root, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl $0x80010031, %eax          /* PG, WP, NE, ET, PE */
	movl %eax, %cr0
	lgdtl gdt_pointer
	ljmpl $8, $long_mode

	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	/* The TSS is below 16 MiB: its base has 24 bits. */
	movl $task_state, %eax
	movw %ax, gdt + 26
	shrl $16, %eax
	movb %al, gdt + 28
	movl $24, %eax
	ltr %ax
	popq %rdi                       /* the boot information */
	call guest_main
	movl %eax, %edi
	.globl power_off
power_off:                              /* EDI: status */
	movl %edi, %eax
	movl $0xf4, %edx                /* isa-debug-exit */
	outl %eax, %dx
	movl $0x8900, %edx              /* Bochs' shutdown port */
	movl $off_word, %esi
	movl $8, %ecx
	rep outsb
1:	cli
	hlt
	jmp 1b

	.globl exception_stubs
	.p2align 4
exception_stubs:
	.set vector, 0
	.rept 32
	.p2align 4
	pushq $vector
	jmp exception
	.set vector, vector + 1
	.endr
exception:
	popq %rdi
	popq %rsi                       /* error code or RIP */
	movq (%rsp), %rdx
	movq %cr2, %rcx
	andq $-16, %rsp
	call guest_exception
	jmp power_off

	.data
off_word: .ascii "Shutdown"
	.p2align 4
	.globl gdt
gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x0000890000000067, 0
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.bss
	.p2align 12
	.globl root
root:	.skip 4096
pointers: .skip 4096
directory: .skip 4096
page_tables: .skip 4096 * TABLES
	.skip 16384
stack_top:
	.p2align 4
	.globl task_state
task_state: .skip 104
	.section .note.GNU-stack, "", @progbits
