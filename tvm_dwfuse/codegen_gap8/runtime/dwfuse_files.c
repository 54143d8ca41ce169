/* Files by open, read and write: of the host's system, or of QEMU's through semihosting. */
#include <fcntl.h>
#include <unistd.h>

#include "dwfuse_platform.h"

int dwfuse_file_read(const char *name, uint32_t offset, void *data, int bytes) {
  int file = open(name, O_RDONLY);
  if (file < 0) return -1;
  int done = 0, got = 1;
  if (lseek(file, (off_t)offset, SEEK_SET) != (off_t)offset) got = 0;
  while (done < bytes && got > 0) {
    got = (int)read(file, (char *)data + done, (size_t)(bytes - done));
    if (got > 0) done += got;
  }
  close(file);
  return done;
}

int dwfuse_file_write(const char *name, const void *data, int bytes) {
  int file = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return 1;
  int done = 0, put = 1;
  while (done < bytes && put > 0) {
    put = (int)write(file, (const char *)data + done, (size_t)(bytes - done));
    if (put > 0) done += put;
  }
  return close(file) != 0 || done != bytes;
}
