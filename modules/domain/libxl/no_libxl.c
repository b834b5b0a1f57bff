/* A build without the Xen headers: only the simulated hypervisor. */
#include <stdio.h>
#include <stdlib.h>

#include "modules/domain/domain.h"
#include "modules/domain/libxl/calls.h"

bool xn_backend_has_libxl(void)
{
	return false;
}

const struct xn_libxl_call *xn_libxl_call_find(const char *name)
{
	return NULL;
}

int xn_libxl_worker_main(int socket_fd)
{
	fputs("xenolithd: built without libxl\n", stderr);
	return EXIT_FAILURE;
}
