#include "model/decoder.h"

#include <cmath>

#include "base/error.h"
#include "base/system.h"
#include "model/weight_source.h"

namespace setrl::model {

BlockWeights block_weights(const ModelSpec& spec, const NamedTensors& tensors, std::int64_t layer) {
  const std::string at = "model.layers." + std::to_string(layer) + ".";
  const auto get = [&](const char* name) { return tensors.at(at + name); };
  BlockWeights w;
  w.input_norm = get("input_layernorm.weight");
  w.q = get("self_attn.q_proj.weight");
  w.k = get("self_attn.k_proj.weight");
  w.v = get("self_attn.v_proj.weight");
  w.o = get("self_attn.o_proj.weight");
  if (spec.qkv_bias) {
    w.q_bias = get("self_attn.q_proj.bias");
    w.k_bias = get("self_attn.k_proj.bias");
    w.v_bias = get("self_attn.v_proj.bias");
  }
  if (spec.qk_norm) {
    w.q_norm = get("self_attn.q_norm.weight");
    w.k_norm = get("self_attn.k_norm.weight");
  }
  w.post_norm = get("post_attention_layernorm.weight");
  w.gate = get("mlp.gate_proj.weight");
  w.up = get("mlp.up_proj.weight");
  w.down = get("mlp.down_proj.weight");
  return w;
}

Rope make_rope(const ModelSpec& spec, const at::Tensor& positions) {
  // Llama-3 scaling: arXiv 2407.21783 and Hugging Face's rope_type "llama3": wave lengths above the low-frequency limit
  // are stretched by `factor`, those below the high-frequency limit stay, and those between are blended.
  const std::int64_t half = spec.head_size / 2;
  at::Tensor frequencies = at::empty({half}, at::kDouble);
  auto* f = frequencies.data_ptr<double>();
  for (std::int64_t i = 0; i < half; ++i) {
    double frequency = std::pow(spec.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(spec.head_size));
    if (spec.rope_scaling) {
      const auto& scaling = *spec.rope_scaling;
      const double wave = 2 * M_PI / frequency;
      const auto original = static_cast<double>(scaling.original_positions);
      const double low = original / scaling.low_frequency_factor, high = original / scaling.high_frequency_factor;
      if (wave > low) {
        frequency /= scaling.factor;
      } else if (wave >= high) {
        const double smooth = (original / wave - scaling.low_frequency_factor) /
                              (scaling.high_frequency_factor - scaling.low_frequency_factor);
        frequency = (1 - smooth) * frequency / scaling.factor + smooth * frequency;
      }
    }
    f[i] = frequency;
  }
  const at::Tensor angles =
      positions.to(at::kFloat).unsqueeze(1) * frequencies.to(positions.device(), at::kFloat).unsqueeze(0);
  const at::Tensor both = at::cat({angles, angles}, 1);
  return {both.cos(), both.sin()};
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scale = at::rsqrt(wide.square().mean(-1, true) + epsilon);
  return (wide * scale).to(x.scalar_type()) * weight;
}

at::Tensor apply_rope(const at::Tensor& x, const Rope& rope) {
  const at::Tensor cos = rope.cos.unsqueeze(1).to(x.scalar_type()), sin = rope.sin.unsqueeze(1).to(x.scalar_type());
  const auto parts = x.chunk(2, -1);
  return x * cos + at::cat({-parts[1], parts[0]}, -1) * sin;
}

at::Tensor block_forward(const ModelSpec& spec, const BlockWeights& w, const at::Tensor& hidden, const Rope& rope,
                         const Attention& attention) {
  const std::int64_t t = hidden.size(0);
  const at::Tensor x = rms_norm(hidden, w.input_norm, spec.norm_epsilon);
  at::Tensor q = at::linear(x, w.q, w.q_bias).view({t, spec.heads, spec.head_size});
  at::Tensor k = at::linear(x, w.k, w.k_bias).view({t, spec.kv_heads, spec.head_size});
  const at::Tensor v = at::linear(x, w.v, w.v_bias).view({t, spec.kv_heads, spec.head_size});
  if (spec.qk_norm) {
    q = rms_norm(q, w.q_norm, spec.norm_epsilon);
    k = rms_norm(k, w.k_norm, spec.norm_epsilon);
  }
  const at::Tensor attended = attention(apply_rope(q, rope), apply_rope(k, rope), v);
  const at::Tensor middle = hidden + at::linear(attended.reshape({t, spec.heads * spec.head_size}), w.o);
  const at::Tensor y = rms_norm(middle, w.post_norm, spec.norm_epsilon);
  return middle + at::linear(at::silu(at::linear(y, w.gate)) * at::linear(y, w.up), w.down);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const std::int64_t repeats = q.size(1) / k.size(1);
  const auto heads_first = [](const at::Tensor& x) { return x.transpose(0, 1).unsqueeze(0); };
  const at::Tensor out = at::scaled_dot_product_attention(heads_first(q), heads_first(k.repeat_interleave(repeats, 1)),
                                                          heads_first(v.repeat_interleave(repeats, 1)), {}, 0.0, true);
  return out.squeeze(0).transpose(0, 1);
}

at::Tensor forward_logits(const ModelSpec& spec, const NamedTensors& tensors, const at::Tensor& ids) {
  const at::Tensor& embedding = tensors.at("model.embed_tokens.weight");
  at::Tensor hidden = at::embedding(embedding, ids);
  const Rope rope = make_rope(spec, at::arange(ids.size(0), at::kLong));
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    hidden = block_forward(spec, block_weights(spec, tensors, layer), hidden, rope, causal_attention);
  }
  hidden = rms_norm(hidden, tensors.at("model.norm.weight"), spec.norm_epsilon);
  return at::linear(hidden, spec.tied_embeddings ? embedding : tensors.at("lm_head.weight")).to(at::kFloat);
}

NamedTensors load_all(const WeightSource& source, at::ScalarType dtype) {
  NamedTensors tensors;
  for (const auto& parameter : parameter_table(source.spec())) {
    const at::Tensor tensor = at::empty(parameter.shape, at::kFloat);
    source.read(parameter.name, 0, parameter.elements(), tensor.data_ptr<float>());
    tensors.emplace(parameter.name, tensor.to(dtype));
  }
  return tensors;
}

at::ScalarType choose_dtype(const std::string& name, at::Device device) {
  if (name == "float32") return at::kFloat;
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  if (name == "auto") return device.is_cuda() || cpu_has_bfloat16() ? at::kBFloat16 : at::kFloat;
  throw_user_error("model.dtype: '{}' is not one of auto, float32, bfloat16, float16", name);
}

}  // namespace setrl::model
