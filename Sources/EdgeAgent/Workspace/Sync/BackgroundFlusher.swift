import CLinux
import Synchronization
import WireFormat

/// Has what was written brought to the disk while more comes, so that there is little left to wait for in the end.
///
/// The system by itself begins with it after half a minute, or when a tenth of the memory is full.
final class BackgroundFlusher: Sendable {
    /// What is written between two times, in bytes: much, because each time waits for the file system's journal.
    private static let intervalBytes = 128 << 20

    private let directory: BeneathDirectory
    private let unflushed = Mutex((bytes: 0, isOver: false))
    private let changed = Signal()

    /// - Parameter directory: of the file system in question.
    init(_ directory: BeneathDirectory) {
        self.directory = directory
    }

    /// So many more bytes wait in memory.
    func wrote(_ count: Int) {
        let isMuch = unflushed.withLock { state in
            state.bytes += count
            return state.bytes >= Self.intervalBytes
        }
        if isMuch { changed.wake() }
    }

    /// Ends `run()`.
    func stop() {
        unflushed.withLock { $0.isOver = true }
        changed.wake()
    }

    /// Runs until `stop()`, or until the task is cancelled. Whether everything is on the disk is asked by another call.
    func run() async {
        while true {
            let ticket = changed.ticket
            let (isMuch, isOver) = unflushed.withLock { state in
                defer { if state.bytes >= Self.intervalBytes { state.bytes = 0 } }
                return (state.bytes >= Self.intervalBytes, state.isOver)
            }
            if isOver { return }
            if isMuch {
                // A failure comes up again at the end, where it counts.
                _ = CLinux_sync_file_system(directory.descriptor)
                continue
            }
            // Thrown where the task is cancelled, which is an end as good as any.
            do { try await changed.wait(after: ticket) } catch { return }
        }
    }
}
