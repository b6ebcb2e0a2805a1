// Precompiled header of every target that uses LibTorch: the tensor library and autograd, not torch::nn (slow to
// parse).
#pragma once
#include "base/pch.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/types.h>
