/* fwupdtool listens for new devices at a netlink address that is its process id. libusb, which it starts before, gets that very
 * address from the kernel, and fwupdtool is left without any device but USB's ("bind to udev socket failed: Address already in
 * use", fwupd 2.0.20 with Debian's libusb). Any other address does as well. Loaded before fwupdtool's libraries (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

typedef int bind_function(int, const struct sockaddr *, socklen_t);

int bind(int socket, const struct sockaddr *address, socklen_t length) {
  bind_function *real = (bind_function *)dlsym(RTLD_NEXT, "bind");
  int answer = real(socket, address, length);
  if (answer == 0 || errno != EADDRINUSE || address->sa_family != AF_NETLINK || length < sizeof(struct sockaddr_nl))
    return answer;
  struct sockaddr_nl free_one = *(const struct sockaddr_nl *)address;
  free_one.nl_pid = 0;
  return real(socket, (const struct sockaddr *)&free_one, sizeof free_one);
}
