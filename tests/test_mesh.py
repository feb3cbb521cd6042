"""What XLA is told about the devices."""

import jax
import jax.numpy as jnp

from histo_simclr import mesh as meshes


def test_convolutions_and_their_gradients_are_eigen_s_on_cpu():
    def gradient(x, kernel):
        def convolve(kernel):
            layout = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)

        out, backward = jax.vjp(convolve, kernel)
        return backward(out)

    x, kernel = jnp.ones((8, 32, 32, 64)), jnp.ones((3, 3, 64, 64))
    options = meshes.compiler_options(meshes.make(1))
    compiled = jax.jit(gradient, compiler_options=options).lower(x, kernel).compile().as_text()
    assert compiled.count(" convolution(") == 2
    assert "ynn_fusion" not in compiled
    # What the option is for: without it XLA hands them over.
    assert "ynn_fusion" in jax.jit(gradient).lower(x, kernel).compile().as_text()
