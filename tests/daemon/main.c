/* xenolithd-test: the daemon with all its modules and rows.c. Never installed. */
#include <stdlib.h>

#include "modules/daemon.h"
#include "modules/modules.h"
#include "tests/daemon/rows.h"

int main(int argc, char **argv)
{
	const struct xn_module **list;
	size_t n = 0;
	int status;

	while (xn_module_list[n])
		n++;
	list = xn_calloc(n + 2, sizeof(*list));
	memcpy(list, xn_module_list, n * sizeof(*list));
	list[n] = &xn_test_rows_module;
	status = xn_daemon_main(argc, argv, list);
	free(list);
	return status;
}
