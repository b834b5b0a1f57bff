/* A build without the Xen headers: only the simulated hypervisor. */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain.h"

struct xn_backend *xn_backend_libxl_new(struct xn_core *core)
{
	return NULL;
}

int xn_libxl_worker_main(int socket_fd)
{
	fputs("xenolithd: built without libxl\n", stderr);
	return EXIT_FAILURE;
}
