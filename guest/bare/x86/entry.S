/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the guest starts: the first processor by PVH (32-bit, no paging), the
 * others by INIT and SIPI (16-bit), both into 64-bit C. Then exceptions, which
 * end in C and never return by iret: an instruction that emulating KVMs lack.
 */
#define CODE64 0x08
#define DATA   0x10
#define CODE32 0x18

#define CR0_START 0x80000023 /* PG, NE, MP, PE */
#define CR4_START 0x20	     /* PAE */
#define MSR_EFER  0xc0000080
#define EFER_LME  0x100

#define AP_STACK    0x4000
#define NR_VECTORS  33
#define FAULT_STACK 0x1000
#define LAPIC_ID    0xfee00020

	.section .note.pvh, "a", @note
	.balign 4
	.long	4, 8, 18	/* XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz	"Xen"
	.quad	pvh_entry

/* ---- The first processor ----------------------------------------------- */

	.section .text.start, "ax"
	.code32
	.globl	pvh_entry
pvh_entry:
	cli
	cld
	movl	%ebx, %esi
	movl	$boot_stack_top, %esp
	lgdt	gdt_pointer
	call	paging_on
	ljmpl	$CODE64, $bsp64

/* 32-bit, paging off: long mode with the identity map. */
paging_on:
	movl	$CR4_START, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$CR0_START, %eax
	movl	%eax, %cr0
	ret

	.code64
bsp64:
	call	load_segments
	movl	%esi, %edi
	movq	$boot_stack_top, %rsp
	call	arch_main
1:	cli
	hlt
	jmp	1b

load_segments:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	lidt	idt_pointer(%rip)
	ret

/* ---- The others -------------------------------------------------------- */

/* Copied to a page below 1 MiB; cs is that page. */
	.macro	trampoline name, target
	.globl	\name, \name\()_end
\name:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	1f - \name
	movl	$0x23, %eax	/* NE, MP, PE; caches on */
	movl	%eax, %cr0
	ljmpl	$CODE32, $\target
	.balign 8
1:	.word	gdt_end - gdt - 1
	.long	gdt
\name\()_end:
	.endm

	.section .rodata
	.code16
	trampoline ap_trampoline, ap32
	trampoline wake_trampoline, wake32

	.section .text.start, "ax"
	.code32
ap32:
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	/* Each takes a number, and the stack that goes with it. */
	movl	$1, %ebx
	lock xaddl %ebx, ap_arrived
	movl	%ebx, %eax
	incl	%eax
	imull	$AP_STACK, %eax
	leal	ap_stacks(%eax), %esp
	call	paging_on
	ljmpl	$CODE64, $ap64
	.code64
ap64:
	call	load_segments
	movl	%ebx, %edi
	call	ap_main
1:	cli
	hlt
	jmp	1b

/* ---- Waking from sleep ------------------------------------------------- */

	.section .text.start, "ax"
	.code32
	.globl	wake_flat
wake_flat:
	lgdt	gdt_pointer
	ljmpl	$CODE32, $wake32
wake32:
	cli
	cld
	movl	$DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	/* What slept has its stack still: this is another's. */
	movl	$ap_stacks + AP_STACK, %esp
	call	paging_on
	ljmpl	$CODE64, $wake64
	.code64
wake64:
	call	load_segments
	call	wake_main

/* ---- Exceptions -------------------------------------------------------- */

/*
 * bool try_call(struct catch *c, void (*fn)(void *), void *arg): true if fn
 * returned, false if it was left by try_escape(c).
 */
	.text
	.globl	try_call, try_escape
try_call:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	pushq	%rdi
	movq	%rsp, (%rdi)
	movl	$1, 8(%rdi)
	movq	%rsi, %rax
	movq	%rdx, %rdi
	call	*%rax
	movl	$1, %eax
	jmp	2f
try_escape:
	cld
	movq	(%rdi), %rsp
	xorl	%eax, %eax
2:	popq	%rdi
	movl	$0, 8(%rdi)
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

/* uint64_t arch_push_pop(uint64_t top, uint64_t value) */
	.globl	arch_push_pop
arch_push_pop:
	movq	%rsp, %rdx
	movq	%rdi, %rsp
	pushq	%rsi
	popq	%rax
	movq	%rdx, %rsp
	ret

/* void arch_fault_on_stack(uint64_t top): does not return */
	.globl	arch_fault_on_stack
arch_fault_on_stack:
	movq	%rdi, %rsp
	ud2

/* Code to be copied elsewhere and run there: returns 0x600d. */
	.globl	arch_probe_code, arch_probe_code_end
arch_probe_code:
	movl	$0x600d, %eax
	ret
arch_probe_code_end:

/* One stub of 16 bytes for each exception, and for the timer: error code,
 * number, then C. */
	.balign 16
	.globl	fault_stubs
fault_stubs:
	.set	vector, 0
	.rept	NR_VECTORS
	.balign 16
	/* 8, 10 to 14, 17, 21, 29 and 30 push an error code. */
	.if	!((0x60227d00 >> vector) & 1)
	pushq	$0
	.endif
	pushq	$vector
	jmp	fault_common
	.set	vector, vector + 1
	.endr
fault_common:
	cld
	movq	(%rsp), %rdi	/* number */
	movq	8(%rsp), %rsi	/* error code */
	movq	16(%rsp), %rdx	/* where */
	/* The stack may be what is at fault: go on on one of our own. */
	movl	$LAPIC_ID, %eax
	movl	(%rax), %eax
	shrl	$24, %eax
	andl	$15, %eax
	incl	%eax
	imull	$FAULT_STACK, %eax
	leaq	fault_stacks(%rax), %rsp
	call	fault_entry
1:	cli
	hlt
	jmp	1b

/* ---- Tables ------------------------------------------------------------ */

	.section .data
	.balign 8
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* CODE64 */
	.quad	0x00cf93000000ffff	/* DATA */
	.quad	0x00cf9b000000ffff	/* CODE32 */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.long	gdt
	.balign 8
	.word	0, 0, 0
idt_pointer:
	.word	NR_VECTORS * 16 - 1
	.quad	idt

/* The first 4 GiB at their own addresses, by pages of 2 MiB; arch_map() adds
 * what lies above. */
	.balign 4096
	.globl	pml4
pml4:	.quad	low_pdpt + 3
	.fill	511, 8, 0
low_pdpt:
	.quad	low_pd + 3, low_pd + 0x1003, low_pd + 0x2003, low_pd + 0x3003
	.fill	508, 8, 0
low_pd:
	.set	page, 0
	.rept	2048
	.quad	page + 0x83
	.set	page, page + 0x200000
	.endr

	.section .bss
	.balign 4096
	.globl	idt, ap_arrived
idt:	.skip	NR_VECTORS * 16
ap_arrived:
	.skip	4
	.balign 4096
	.skip	0x10000
boot_stack_top:
fault_stacks:
	.skip	FAULT_STACK * 16
	.globl	ap_stacks
ap_stacks:
	.skip	AP_STACK * 16

	.section .note.GNU-stack, "", @progbits
