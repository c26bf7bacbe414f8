//! The memory that frames are received into and sent from, shared with the kernel a frame at a time.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::packet_ring::Mapping;

/// Frames of one length in one piece of memory. A frame is either with its owner, as a [`Frame`], or with the kernel.
#[derive(Debug)]
pub(crate) struct FrameArea {
    mapping: Mapping,
    frame_len: usize,
    /// Which frames the kernel has.
    with_kernel: Box<[bool]>,
    /// Tells the frames of this area from those of others.
    area: u32,
}

/// A frame that the kernel does not have: the only way to its octets. There is one value for a frame at a time.
#[derive(Debug)]
pub(crate) struct Frame {
    index: u32,
    area: u32,
}

impl FrameArea {
    /// Makes `count` frames of `frame_len` octets, all with the caller.
    pub(crate) fn new(count: u32, frame_len: usize) -> io::Result<(FrameArea, Vec<Frame>)> {
        static AREAS: AtomicU32 = AtomicU32::new(0);
        let area = AREAS.fetch_add(1, Ordering::Relaxed);
        let mapping = Mapping::anonymous(count as usize * frame_len)?;
        let frames = (0..count).map(|index| Frame { index, area }).collect();
        let with_kernel = vec![false; count as usize].into_boxed_slice();
        Ok((FrameArea { mapping, frame_len, with_kernel, area }, frames))
    }

    /// The memory, for the kernel.
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Octets of a frame.
    pub(crate) fn frame_len(&self) -> usize {
        self.frame_len
    }

    /// Octets of a frame; none outside of it.
    pub(crate) fn read<'a>(&'a self, frame: &'a Frame, range: Range<usize>) -> &'a [u8] {
        assert_eq!(frame.area, self.area, "a frame of this area");
        // SAFETY: the frame is within the mapping, which was made for so many frames of this length and lives as long
        // as `self`. The kernel does not have it, and whoever could change it would need the one `Frame` that
        // is borrowed here. Any octets are valid.
        let octets = unsafe {
            std::slice::from_raw_parts(self.mapping.start().add(self.start(frame)).as_ptr(), self.frame_len)
        };
        octets.get(range).unwrap_or_default()
    }

    /// All octets of a frame, to be written.
    pub(crate) fn write<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        assert_eq!(frame.area, self.area, "a frame of this area");
        // SAFETY: as in `read`; the one `Frame` is borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.mapping.start().add(self.start(frame)).as_ptr(),
                self.frame_len,
            )
        }
    }

    /// Gives a frame to the kernel; tells its address in the area.
    pub(crate) fn lend(&mut self, frame: Frame) -> u64 {
        assert_eq!(frame.area, self.area, "a frame of this area");
        self.with_kernel[frame.index as usize] = true;
        self.start(&frame) as u64
    }

    /// Takes back the frame that an address lies in, and says how far into it. `None`: the kernel does not have that frame.
    pub(crate) fn take_back(&mut self, address: u64) -> Option<(Frame, usize)> {
        let address = usize::try_from(address).ok()?;
        let (index, offset) = (address / self.frame_len, address % self.frame_len);
        let with_kernel = self.with_kernel.get_mut(index)?;
        std::mem::take(with_kernel).then_some((Frame { index: index as u32, area: self.area }, offset))
    }

    fn start(&self, frame: &Frame) -> usize {
        frame.index as usize * self.frame_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_with_one_side() {
        let (mut area, mut frames) = FrameArea::new(3, 2048).unwrap();
        let mut last = frames.pop().unwrap();
        area.write(&mut last)[..4].copy_from_slice(b"last");
        assert!(area.take_back(2 * 2048).is_none(), "the kernel never had it");
        let address = area.lend(last);
        assert_eq!(address, 2 * 2048);
        let (last, offset) = area.take_back(address + 256).unwrap();
        assert_eq!(offset, 256);
        assert!(area.take_back(address).is_none(), "it is back already");
        assert_eq!(area.read(&last, 0..4), b"last");
        assert_eq!(area.read(&last, 2000..2049), b"", "not outside of the frame");
        assert!(area.take_back(3 * 2048).is_none());
        assert!(area.take_back(u64::MAX).is_none());
    }

    #[test]
    #[should_panic(expected = "a frame of this area")]
    fn frames_of_another_area_are_told_apart() {
        let (one, _) = FrameArea::new(1, 2048).unwrap();
        let (_other, frames) = FrameArea::new(1, 2048).unwrap();
        one.read(&frames[0], 0..1);
    }
}
