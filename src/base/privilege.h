/* privilege.h: what the kernel lets this process do, made less.  Source: capabilities(7).  Elsewhere than on
 * Linux these do nothing. */
#ifndef VMWIRE_BASE_PRIVILEGE_H
#define VMWIRE_BASE_PRIVILEGE_H

/* Who is to keep what. */
enum privilege {
    PRIVILEGE_NETWORK,    /* vmwire itself: networks, its files, other users' processes, a driver's module */
    PRIVILEGE_NAMESPACE,  /* and namespaces: `probe` makes a guest of them */
    PRIVILEGE_HELPER,     /* dnsmasq, a DHCP client: ports, packets, an address, another user */
    PRIVILEGE_HYPERVISOR, /* files, locked memory, scheduling; its nics come as descriptors */
};

/* Give up everything else for good, for this process and all that it starts.  What is not there stays away.
 */
void privilege_keep(enum privilege privilege);

/* Let what is started next have nothing by inheritance: the inheritable and the ambient set become empty. */
void privilege_inherit_nothing(void);

#endif
