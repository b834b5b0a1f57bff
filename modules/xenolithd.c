/* xenolithd: the daemon with all its modules. */
#include "modules/auth/auth.h"
#include "modules/daemon.h"
#include "modules/domain/domain.h"
#include "modules/modules.h"

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], XN_LIBXL_WORKER_ARG) == 0)
		return xn_libxl_worker_main(XN_LIBXL_WORKER_FD);
	if (argc == 2 && strcmp(argv[1], XN_PAM_CHILD_ARG) == 0)
		return xn_pam_child_main();
	return xn_daemon_main(argc, argv, xn_module_list);
}
