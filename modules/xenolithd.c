/* xenolithd: the daemon with all its modules. */
#include "modules/daemon.h"
#include "modules/modules.h"

int main(int argc, char **argv)
{
	return xn_daemon_main(argc, argv, xn_module_list);
}
