//! Writes the seeds of a target that are made by code: `seeds TARGET FOLDER`.

use std::path::Path;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = arguments.as_slice() else { panic!("seeds TARGET FOLDER") };
    for (index, seed) in starling_fuzz::seeds(target).iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("seed-{index:03}")), seed)
            .expect("a folder to write to");
    }
}
