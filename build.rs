//! Tells Cargo that a release build embeds the demo page, so that a new page means a new binary.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A development build reads the page from disk as it is asked for (rust-embed), so it need not be rebuilt.
    if std::env::var("PROFILE").as_deref() == Ok("release") {
        println!("cargo:rerun-if-changed=web/demo/dist");
    }
}
