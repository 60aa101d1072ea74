/* device_name.c: vendors' and products' names, from libpci's database (pci.ids). */
#include <pci/pci.h>
#include <stdlib.h>
#include <string.h>

#include "base/library.h"
#include "host/linux/linux.h"

#define PCI_FUNCTIONS(DO) DO(pci_alloc) DO(pci_cleanup) DO(pci_lookup_name)

LIBRARY(pci_library, PCI_FUNCTIONS, "libpci.so.3");

/* libpci ends the program on an error of its own; without a database there is none. */
static void no_words(char *format, ...)
{
    (void)format;
}

static const char *look_up(struct pci_access *access, struct arena *arena, int what, int vendor, int product)
{
    char buffer[256];
    const char *name =
        sym_pci_lookup_name(access, buffer, sizeof(buffer), what | PCI_LOOKUP_NO_NUMBERS, vendor, product);
    return name && *name ? arena_strdup(arena, name) : NULL;
}

void device_names_observe(struct arena *arena, struct observed *observed)
{
    if (library_load(&pci_library, NULL) < 0)
        return; /* numbers name them, too */
    struct pci_access *access = sym_pci_alloc();
    access->warning = no_words;
    vec_foreach (&observed->devices, device) {
        if (!device->network)
            continue;
        device->vendor_name = look_up(access, arena, PCI_LOOKUP_VENDOR, device->vendor, 0);
        device->product_name = look_up(access, arena, PCI_LOOKUP_DEVICE, device->vendor, device->product);
    }
    sym_pci_cleanup(access);
}
