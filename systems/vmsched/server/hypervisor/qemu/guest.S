# The guest: the first sector of its disk, which the BIOS loads to 0x7c00 and starts in
# real mode. It counts at 100 Hz. Every second tick it prints a line on the first serial
# port: its counter and the number of the last write that the disk has completed, 8 hex
# digits each. Every eighth tick it writes the next number to the sector behind its own,
# and has the disk flush its cache: the write is complete when that is. It waits for the
# disk in the same hlt as for the clock, so that it counts and prints while the disk does
# not answer. A write that fails is tried again.
#
# The last number, which it reads when it starts, is the first 4 bytes of the second
# sector, little-endian.
#
# All that it writes is in the page that its code is in, and behind its start it calls nothing
# of the BIOS. While QEMU 7.2 migrates a guest under TCG it was seen to miss stores to other
# pages that had been sent already: the guest went back by some ticks on the target, as if
# stores went by the fast path still when the dirty bitmap was cleared. Those to a page from
# which code runs always go the slow way, and none was seen to be missed.

	.code16
	.globl	_start

	.set	buffer, 0x7e00		# the second sector, as it is, or is being written
	.set	counter, 0x7000		# ticks since the start
	.set	acked, 0x7004		# the last write that is complete
	.set	shown, 0x7008		# the counter when it was looked at last
	.set	stage, 0x700c		# 0: the disk is idle, else what it is doing
	.set	writing, 1
	.set	flushing, 2

	.set	com1, 0x3f8
	.set	disk, 0x1f0
	.set	command, 0x1f7		# of the disk; read: its status
	.set	busy, 0x80
	.set	wants, 0x08		# it wants data
	.set	failed, 0x21		# an error, or a fault

_start:
	ljmp	$0, $1f
1:	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$0x7c00, %sp
	cld
	sti

read:	movw	$0x0201, %ax		# the BIOS reads the second sector; %dl is the disk
	movw	$2, %cx
	xorb	%dh, %dh
	movw	$buffer, %bx
	int	$0x13
	jc	read

	cli
	movw	$counter, %di
	xorw	%ax, %ax
	movw	$8, %cx
	rep stosw
	movl	buffer, %edx
	movl	%edx, acked

	movw	$tick, 0x20		# IRQ 0, the timer's
	movw	%ax, 0x22
	movw	$woken, 0x1d8		# IRQ 14, the disk's
	movw	%ax, 0x1da
	movb	$0x34, %al		# the timer: 1193182 Hz / 11932
	outb	%al, $0x43
	movw	$11932, %ax
	outb	%al, $0x40
	movb	%ah, %al
	outb	%al, $0x40
	movb	$0xfa, %al		# no interrupts but the timer's and those of the second
	outb	%al, $0x21
	movb	$0xbf, %al		# controller, and there none but the disk's,
	outb	%al, $0xa1
	movw	$0x3f6, %dx
	xorb	%al, %al		# which it is to use
	outb	%al, %dx

	call	print

	# Interrupts are off but in hlt: none comes between the look at what they change, and it.
wait:	sti
	hlt
	cli
	movw	$command, %dx
	cmpb	$0, stage
	je	idle
	inb	%dx, %al
	testb	$busy, %al
	jnz	clock
	testb	$failed, %al
	jnz	over
	cmpb	$flushing, stage
	je	done
	movb	$flushing, stage
	movb	$0xe7, %al		# flush
	outb	%al, %dx
	jmp	clock
done:	movl	buffer, %eax
	movl	%eax, acked
over:	movb	$0, stage
	jmp	clock

idle:	testb	$7, counter
	jnz	clock
	movl	acked, %eax
	incl	%eax
	movl	%eax, buffer
	movw	$disk+2, %dx
	movb	$1, %al			# one sector
	outb	%al, %dx
	incw	%dx
	outb	%al, %dx		# the one with the number 1
	xorb	%al, %al
	incw	%dx
	outb	%al, %dx
	incw	%dx
	outb	%al, %dx
	incw	%dx
	movb	$0xe0, %al		# of the first disk
	outb	%al, %dx
	incw	%dx
	movb	$0x30, %al		# write
	outb	%al, %dx
1:	inb	%dx, %al
	testb	$failed, %al
	jnz	clock
	testb	$wants, %al
	jz	1b
	movb	$writing, stage
	movw	$buffer, %si
	movw	$disk, %dx
	movw	$256, %cx
	rep outsw

clock:	movl	counter, %eax
	cmpl	shown, %eax
	je	wait
	movl	%eax, shown
	testb	$1, %al
	jnz	wait
	call	print
	jmp	wait

print:	movl	counter, %ebx
	call	hex
	movb	$' ', %al
	call	put
	movl	acked, %ebx
	call	hex
	movb	$'\n', %al
	jmp	put

hex:	movw	$8, %cx
1:	roll	$4, %ebx
	movb	%bl, %al
	andb	$15, %al
	cmpb	$10, %al
	jb	2f
	addb	$'a'-'0'-10, %al
2:	addb	$'0', %al
	call	put
	loop	1b
	ret

put:	pushw	%ax
	movw	$com1+5, %dx
1:	inb	%dx, %al
	testb	$0x20, %al		# there is room
	jz	1b
	popw	%ax
	movw	$com1, %dx
	outb	%al, %dx
	ret

tick:	incl	counter
	pushw	%ax
	movb	$0x20, %al
	jmp	1f
woken:	pushw	%ax
	movb	$0x20, %al
	outb	%al, $0xa0
1:	outb	%al, $0x20
	popw	%ax
	iret

	.org	510
	.word	0xaa55
