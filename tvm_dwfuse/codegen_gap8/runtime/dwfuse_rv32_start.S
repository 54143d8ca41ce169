# All harts begin here. Hart 0 calls dwfuse_rv32_main; the others sleep until a software interrupt is pending.
  .option arch, +zicsr
  .section .text.start, "ax"
  .globl _start
_start:
  .option push
  .option norelax
  la gp, __global_pointer$
  .option pop
  la tp, __tls_base
  la t0, dwfuse_unexpected_trap
  csrw mtvec, t0
  csrr a0, mhartid
  la sp, __stacks
  lui t0, %hi(__stack_size)
  addi t0, t0, %lo(__stack_size)
  addi t1, a0, 1
  mul t1, t1, t0
  add sp, sp, t1
  csrw mie, 8               # a software interrupt ends wfi; mstatus.MIE stays 0, so it traps nobody
  bnez a0, wait_for_open
  call dwfuse_rv32_main
wait_for_open:
  wfi
  csrr t0, mip
  andi t0, t0, 8
  beqz t0, wait_for_open
  call dwfuse_rv32_worker

  .balign 4
dwfuse_unexpected_trap:     # an illegal instruction or a bad address: end QEMU with a status other than 0
  li t0, 0x100000           # the test device: 0x3333 in the low half fails, with the status in the high half
  li t1, 0x00633333
  sw t1, 0(t0)
  j dwfuse_unexpected_trap
