/* A pool of threads that share the iterations of a kernel's parallel loops, as TVM's runtime would.
 *
 * The caller of a run takes part in its loops. Worker i does the tasks i, i + threads, ...; a loop is over when all
 * workers have passed it, so none can meet the loop after next. A worker first spins for the next loop, as those of one
 * run follow each other within microseconds, and then sleeps.
 */
#include "dwfuse_threads.h"

#include <stdint.h>

#include "dwfuse_network.h"

#if DWFUSE_THREADS == 1

int dwfuse_threads_start(int count) {
  (void)count;
  return DWFUSE_OK;
}

void dwfuse_threads_stop(void) {}

#else

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

enum { SPINS = 2000, WORKERS = DWFUSE_THREADS - 1 };

/* What TVM's code gives and gets: TVMParallelGroupEnv and FTVMParallelLambda of its c_backend_api.h. */
typedef struct {
  void *sync_handle;
  int32_t num_task;
} group_t;

typedef int (*task_t)(int task, group_t *group, void *data);

static pthread_t workers[WORKERS];
static int numbers[WORKERS];
static int started;

static pthread_mutex_t user = PTHREAD_MUTEX_INITIALIZER; /* held by the run whose loops the pool does */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the two conditions */
static pthread_cond_t begun = PTHREAD_COND_INITIALIZER;
static pthread_cond_t passed = PTHREAD_COND_INITIALIZER;

/* The loop that is being done; written before `loops` is counted up. */
static struct {
  task_t task;
  void *data;
  int tasks;
  int stop;
} loop;
static atomic_uint loops;   /* how many have begun */
static atomic_int running;  /* workers that have not passed the last one */
static atomic_int failure;  /* status of a task of it that failed */

static void relax(void) {
#if defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#elif defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("pause");
#endif
}

static int do_tasks(task_t task, void *data, int tasks, int first, int step) {
  group_t group = {NULL, tasks};
  int i, status;
  for (i = first; i < tasks; i += step) {
    if ((status = task(i, &group, data)) != 0) return status;
  }
  return 0;
}

static void wait_for_loop(unsigned seen) {
  int spin;
  for (spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(&loops, memory_order_acquire) != seen) return;
    relax();
  }
  pthread_mutex_lock(&lock);
  while (atomic_load_explicit(&loops, memory_order_acquire) == seen) pthread_cond_wait(&begun, &lock);
  pthread_mutex_unlock(&lock);
}

static void wait_for_workers(void) {
  int spin;
  for (spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(&running, memory_order_acquire) == 0) return;
    relax();
  }
  pthread_mutex_lock(&lock);
  while (atomic_load_explicit(&running, memory_order_acquire) != 0) pthread_cond_wait(&passed, &lock);
  pthread_mutex_unlock(&lock);
}

static void *work(void *argument) {
  int number = *(int *)argument;
  unsigned seen = 0;
  for (;;) {
    int stop, status;
    wait_for_loop(seen);
    seen++;
    stop = loop.stop;
    status = stop ? 0 : do_tasks(loop.task, loop.data, loop.tasks, number, started + 1);
    if (status) atomic_store(&failure, status);
    if (atomic_fetch_sub_explicit(&running, 1, memory_order_acq_rel) == 1) {
      pthread_mutex_lock(&lock);
      pthread_cond_signal(&passed);
      pthread_mutex_unlock(&lock);
    }
    if (stop) return NULL;
  }
}

static void begin_loop(task_t task, void *data, int tasks, int stop) {
  loop.task = task;
  loop.data = data;
  loop.tasks = tasks;
  loop.stop = stop;
  atomic_store(&running, started);
  atomic_store(&failure, 0);
  pthread_mutex_lock(&lock);
  atomic_fetch_add_explicit(&loops, 1, memory_order_release);
  pthread_cond_broadcast(&begun);
  pthread_mutex_unlock(&lock);
}

/* TVM's TVMBackendParallelLaunch; `tasks` is 0 for as many as there are threads. */
static int launch(task_t task, void *data, int tasks) {
  int status;
  if (started == 0 || pthread_mutex_trylock(&user) != 0) return do_tasks(task, data, tasks > 0 ? tasks : 1, 0, 1);
  if (tasks <= 0) tasks = started + 1;
  begin_loop(task, data, tasks, 0);
  status = do_tasks(task, data, tasks, 0, started + 1);
  wait_for_workers();
  if (status == 0) status = atomic_load(&failure);
  pthread_mutex_unlock(&user);
  return status;
}

/* Compiled kernels call through this variable, which TVM's runtime would fill. */
int (*__TVMBackendParallelLaunch)(task_t, void *, int) = launch;

int dwfuse_threads_start(int count) {
  if (started) return DWFUSE_BUSY;
  if (count == 0 || count > DWFUSE_THREADS) count = DWFUSE_THREADS;
  atomic_store(&loops, 0);
  pthread_mutex_lock(&user);
  while (started < count - 1) {
    numbers[started] = started + 1;
    if (pthread_create(&workers[started], NULL, work, &numbers[started]) != 0) break;
    started++;
  }
  pthread_mutex_unlock(&user);
  if (started == count - 1) return DWFUSE_OK;
  dwfuse_threads_stop();
  return DWFUSE_NO_THREADS;
}

void dwfuse_threads_stop(void) {
  int i;
  if (started == 0) return;
  begin_loop(NULL, NULL, 0, 1);
  for (i = 0; i < started; i++) pthread_join(workers[i], NULL);
  started = 0;
}

#endif
