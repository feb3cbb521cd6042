"""From the index of a mix to global device arrays: order, reader, device."""
