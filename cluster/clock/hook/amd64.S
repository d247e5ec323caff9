# The hooks of amd64: what a process calls instead of its vDSO's functions, once
# their symbols there have been bent. They are on a page of their own in it:
# position-independent, and but for the three words below the same everywhere.
# hook_amd64.go has their bytes, and TestHookBytesAreTheirSource compares the two:
#
#	as --64 -o hook.o amd64.S && objcopy -O binary -j .text hook.o hook.bin
#
# They keep to the C calling convention, need less than 128 bytes of stack beside
# what the vDSO needs, and make no system call that it does not make.

	.text

# What the tester fills in for each process.
	.org	0
clock:	.quad	0			# the vDSO's own clock_gettime
day:	.quad	0			# and its gettimeofday
page:	.quad	0			# where the node's page is: see type page

# The tester lets calls that it makes itself return here.
	.org	24
	int3

# The column of a slot that tells of a clock, as an offset in the slot, by the
# clock's number; 1 for those that are left alone, such as CPU times.
	.org	32
columns:
	.byte	0			# CLOCK_REALTIME
	.byte	48			# CLOCK_MONOTONIC
	.byte	1, 1			# of processes and threads
	.byte	96			# CLOCK_MONOTONIC_RAW
	.byte	0			# CLOCK_REALTIME_COARSE
	.byte	48			# CLOCK_MONOTONIC_COARSE
	.byte	72			# CLOCK_BOOTTIME
	.byte	1, 1, 1			# of alarms, and of none
	.byte	24			# CLOCK_TAI

# int clock_gettime(int id, struct timespec *ts)
	.org	64
clock_gettime:
	endbr64
	mov	%edi, %edi		# a number beyond 32 bits is none
	cmp	$11, %edi
	ja	alone
	lea	columns(%rip), %rax
	movzbl	(%rax,%rdi), %eax
	test	$1, %al
	jnz	alone
	push	%rbx
	push	%rbp
	push	%r12			# and with them the stack is aligned
	mov	%rax, %rbx
	mov	%rsi, %rbp
	mov	%rdi, %r12

again:	mov	%r12, %rdi
	mov	%rbp, %rsi
	call	*clock(%rip)
	test	%eax, %eax
	jnz	done			# as little as it gave is what they get
	imul	$1000000000, (%rbp), %rcx
	add	8(%rbp), %rcx		# true time, read before the count of slots
	mov	page(%rip), %rsi
count:	mov	(%rsi), %rdi
	mov	%rdi, %r9
	mov	$31, %r8d		# of the ring's 32, the one that may be written now left out

slot:	mov	%edi, %eax		# the last slot that this time is not before
	and	$31, %eax
	shl	$7, %eax
	add	%rbx, %rax
	lea	128(%rsi,%rax), %r10
	mov	%rcx, %rax
	sub	(%r10), %rax		# since when
	jge	found
	dec	%rdi
	dec	%r8d
	jnz	slot
	cmp	$48, %ebx		# all were overtaken meanwhile: the next try is faster;
	jae	again			# or realtime was set back: then the oldest has to do

found:	imulq	16(%r10)		# the gain, in 128 bits
	shrd	$32, %rdx, %rax
	add	8(%r10), %rax
	cmp	(%rsi), %r9		# else the slot may be another by now
	jne	count
	test	%rax, %rax
	jz	done			# with 0, which means success
	add	%rcx, %rax
	mov	$1000000000, %ecx
	xor	%edx, %edx
	div	%rcx
	mov	%rax, (%rbp)
	mov	%rdx, 8(%rbp)
	xor	%eax, %eax
done:	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
alone:	jmp	*clock(%rip)

# int gettimeofday(struct timeval *tv, struct timezone *tz)
	.org	256
gettimeofday:
	endbr64
	push	%rbx
	sub	$16, %rsp
	mov	%rdi, %rbx
	test	%rsi, %rsi
	jz	1f
	xor	%edi, %edi		# the zone is as it was
	call	*day(%rip)
1:	xor	%eax, %eax
	test	%rbx, %rbx
	jz	2f
	xor	%edi, %edi		# CLOCK_REALTIME
	mov	%rsp, %rsi
	call	clock_gettime
	test	%eax, %eax
	jnz	2f
	mov	(%rsp), %rax
	mov	%rax, (%rbx)
	mov	8(%rsp), %rax
	xor	%edx, %edx
	mov	$1000, %ecx
	div	%rcx
	mov	%rax, 8(%rbx)
	xor	%eax, %eax
2:	add	$16, %rsp
	pop	%rbx
	ret

# time_t time(time_t *t)
	.org	384
time:
	endbr64
	push	%rbx
	sub	$16, %rsp
	mov	%rdi, %rbx
	mov	$5, %edi		# CLOCK_REALTIME_COARSE, as the vDSO's own
	mov	%rsp, %rsi
	call	clock_gettime
	mov	(%rsp), %rax
	test	%rbx, %rbx
	jz	1f
	mov	%rax, (%rbx)
1:	add	$16, %rsp
	pop	%rbx
	ret
