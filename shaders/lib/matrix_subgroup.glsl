/* Matrices that a subgroup has together, for lib/tile_cooperative_matrix.glsl: A from tile_weights, B
 * from tile_x, sums to tile_products. They are macros because a cooperative matrix is loaded from a
 * named array. Every invocation of the subgroup must come by. */
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require

#define MATRIX_A coopmat<float16_t, gl_ScopeSubgroup, MATRIX_M, MATRIX_K, gl_MatrixUseA>
#define MATRIX_B coopmat<float16_t, gl_ScopeSubgroup, MATRIX_K, MATRIX_N, gl_MatrixUseB>
#define MATRIX_SUMS coopmat<float, gl_ScopeSubgroup, MATRIX_M, MATRIX_N, gl_MatrixUseAccumulator>

#define MATRIX_ZERO(sums) sums = MATRIX_SUMS(0.0)
#define MATRIX_LOAD_A(a, first) \
    coopMatLoad(a, tile_weights, first, TILE_STRIDE, gl_CooperativeMatrixLayoutRowMajor)
#define MATRIX_LOAD_B(b, first) \
    coopMatLoad(b, tile_x, first, TILE_STRIDE, gl_CooperativeMatrixLayoutColumnMajor)
#define MATRIX_MULTIPLY(a, b, sums) sums = coopMatMulAdd(a, b, sums)
#define MATRIX_STORE(sums, first) \
    coopMatStore(sums, tile_products, first, TILE_PART, gl_CooperativeMatrixLayoutColumnMajor)

uint matrix_group()
{
    return gl_SubgroupID;
}
