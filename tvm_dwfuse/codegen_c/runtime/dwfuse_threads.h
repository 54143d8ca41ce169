/* The threads of one network. DWFUSE_THREADS, the number it was compiled for, is given to the compiler. */
#ifndef DWFUSE_THREADS_H
#define DWFUSE_THREADS_H

/* Start threads for parallel loops, `count` with the calling one, 0 for all that the network can use. Returns a
 * dwfuse_status. */
int dwfuse_threads_start(int count);

/* End them. */
void dwfuse_threads_stop(void);

#endif
