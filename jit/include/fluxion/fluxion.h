// All of the language and of what runs it. <fluxion/nn/...> and <fluxion/sci/...> come on top.
#pragma once
#include "fluxion/buffer.h"
#include "fluxion/capture.h"
#include "fluxion/control.h"
#include "fluxion/functions.h"
#include "fluxion/device.h"
#include "fluxion/differentiate.h"
#include "fluxion/error.h"
#include "fluxion/kernel.h"
#include "fluxion/params.h"
#include "fluxion/program.h"
#include "fluxion/structs.h"
#include "fluxion/var.h"
