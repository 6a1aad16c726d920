//! The shipped states are built in: a change of theirs is a change of the program.

fn main() {
    println!("cargo::rerun-if-changed=states");
}
