use napi::bindgen_prelude::*;

use crate::invalid;

/// Bytes of the caller's that a result is written to.
pub(crate) type Output<'a> = Uint8ArraySlice<'a>;

/// Copies a result out; the lengths must be equal.
pub(crate) fn give(mut output: Output<'_>, result: &[u8]) -> Result<()> {
    if output.len() != result.len() {
        return Err(invalid("the output has the wrong length"));
    }
    // SAFETY: the call is synchronous, so JavaScript touches nothing meanwhile, and `result` is memory of this side.
    unsafe { output.as_mut() }.copy_from_slice(result);
    Ok(())
}

/// Copies a result out if there is one, and tells.
pub(crate) fn give_if(output: Output<'_>, result: Option<Vec<u8>>) -> Result<bool> {
    match result {
        Some(bytes) => give(output, &bytes).map(|()| true),
        None => Ok(false),
    }
}
