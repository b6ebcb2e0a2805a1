#include "model/model_spec.h"

namespace setrl::model {

std::int64_t ParameterSpec::elements() const {
  std::int64_t count = 1;
  for (const auto extent : shape) count *= extent;
  return count;
}

std::vector<ParameterSpec> parameter_table(const ModelSpec& spec) {
  const std::int64_t e = spec.hidden, d = spec.head_size, q = spec.heads * d, kv = spec.kv_heads * d;
  std::vector<ParameterSpec> table;
  table.push_back({"model.embed_tokens.weight", {spec.vocabulary, e}, 0});
  for (std::int64_t layer = 0; layer < spec.layers; ++layer) {
    const int unit = static_cast<int>(layer) + 1;
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    table.push_back({at + "input_layernorm.weight", {e}, unit});
    table.push_back({at + "self_attn.q_proj.weight", {q, e}, unit});
    if (spec.qkv_bias) table.push_back({at + "self_attn.q_proj.bias", {q}, unit});
    table.push_back({at + "self_attn.k_proj.weight", {kv, e}, unit});
    if (spec.qkv_bias) table.push_back({at + "self_attn.k_proj.bias", {kv}, unit});
    table.push_back({at + "self_attn.v_proj.weight", {kv, e}, unit});
    if (spec.qkv_bias) table.push_back({at + "self_attn.v_proj.bias", {kv}, unit});
    if (spec.qk_norm) {
      table.push_back({at + "self_attn.q_norm.weight", {d}, unit});
      table.push_back({at + "self_attn.k_norm.weight", {d}, unit});
    }
    table.push_back({at + "self_attn.o_proj.weight", {e, q}, unit});
    table.push_back({at + "post_attention_layernorm.weight", {e}, unit});
    table.push_back({at + "mlp.gate_proj.weight", {spec.inner, e}, unit});
    table.push_back({at + "mlp.up_proj.weight", {spec.inner, e}, unit});
    table.push_back({at + "mlp.down_proj.weight", {e, spec.inner}, unit});
  }
  const int last = static_cast<int>(spec.layers) + 1;
  table.push_back({"model.norm.weight", {e}, last});
  if (!spec.tied_embeddings) table.push_back({"lm_head.weight", {spec.vocabulary, e}, last});
  return table;
}

std::int64_t ModelSpec::parameter_count() const {
  std::int64_t count = 0;
  for (const auto& parameter : parameter_table(*this)) count += parameter.elements();
  return count;
}

}  // namespace setrl::model
