/* A build without Vulkan says so, whatever it is asked. */
#include <criterion/criterion.h>
#include <string.h>

#include "engine/vk/vk.h"

Test(vk_none, every_request_is_refused_with_a_sentence)
{
    struct vk_device_info devices[VK_MAX_DEVICES];
    uint32_t n = 99;
    struct error err = {{0}};
    cr_expect_not(vk_list_devices(devices, &n, &err));
    cr_expect_eq(n, 0);
    cr_expect(strstr(err.text, "no Vulkan back end"), "%s", err.text);
    err.text[0] = 0;
    cr_expect_null(vk_backend_create(&(struct vk_options){0}, &err));
    cr_expect(strstr(err.text, "--device cpu"), "%s", err.text);
    err.text[0] = 0;
    cr_expect_eq(vk_compile_all(0, stdout, &err), -1);
    cr_expect(err.text[0]);
}
