/* fuzz_lease.c: any bytes as dnsmasq's lease file, or dhclient's: no crash, no text that could move a
 * terminal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/freebsd/freebsd.h"
#include "service/service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {0};
    const char *text = arena_strndup(&arena, (const char *)data, size);
    struct leases leases;
    struct guest_lease won;
    dnsmasq_leases_parse(&arena, text, &leases);
    vec_foreach (&leases.list, lease) {
        for (const char *c = lease->hostname ? lease->hostname : ""; *c; c++) {
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                abort();
        }
    }
    freebsd_lease_parse(text, "re0", &won);
    return 0;
}
