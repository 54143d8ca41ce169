/* The constants of the network, in one block. */
  .section .rodata.dwfuse_constants,"a",%progbits
  .balign ${alignment}
  .globl dwfuse_constants
  .type dwfuse_constants, %object
  .size dwfuse_constants, ${bytes}
dwfuse_constants:
  .incbin "constants.bin"
  .section .note.GNU-stack,"",%progbits
