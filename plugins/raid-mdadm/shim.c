/* mdadm opens devices by number through nodes that it makes for a moment. A plugin makes no nodes: it gets links to those
 * that it has, /dev/block/MAJOR:MINOR. Loaded before mdadm's libraries (LD_PRELOAD). */
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

int mknod(const char *path, mode_t mode, dev_t number) {
  char node[64];
  (void)mode;
  snprintf(node, sizeof node, "/dev/block/%u:%u", major(number), minor(number));
  return symlink(node, path);
}
