import CLinux
import Dispatch
import Glibc
import Synchronization

/// Tells when something is written in a directory, by inotify; nobody polls. One instance serves all bots, because the
/// kernel allows a user only 128 of them by default.
final class FileChangeNotifier: Sendable {
    private struct State {
        var watches: [Int32: Watch] = [:]
        var nextID: UInt64 = 0
    }

    private struct Watch {
        let directory: String
        var readers: [UInt64: AsyncStream<Void>.Continuation]
    }

    private let descriptor: Int32
    // Safe to share: set once in init; dispatch sources may be used from any thread.
    private nonisolated(unsafe) let source: any DispatchSourceRead
    private let state = Mutex(State())

    /// - Throws: `RuntimeError` where the kernel gives no inotify instance.
    init() throws(RuntimeError) {
        let descriptor = inotify_init1(Int32(IN_CLOEXEC) | Int32(IN_NONBLOCK))
        guard descriptor >= 0 else {
            throw RuntimeError(
                .storageFailed,
                "log files cannot be watched: \(String(errno: errno)); raise fs.inotify.max_user_instances (sysctl)"
            )
        }
        self.descriptor = descriptor
        let queue = DispatchQueue(label: "edge-agent.inotify")
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler { [weak self] in self?.readEvents() }
        source.setCancelHandler { close(descriptor) }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// A signal after each change in the directory; several at once may be one. Ends when its reader lets go of it, and with the
    /// directory.
    ///
    /// - Throws: `RuntimeError` where the directory cannot be watched.
    func changes(in directory: String) throws(RuntimeError) -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let (watch, id) = state.withLock { state -> (Int32, UInt64) in
            let mask = UInt32(IN_MODIFY) | UInt32(IN_CREATE) | UInt32(IN_MOVED_TO) | UInt32(IN_DELETE)
            // The same directory gives the same number again.
            let watch = inotify_add_watch(descriptor, directory, mask)
            guard watch >= 0 else { return (-1, 0) }
            state.nextID += 1
            let known = Watch(directory: directory, readers: [:])
            state.watches[watch, default: known].readers[state.nextID] = continuation
            return (watch, state.nextID)
        }
        guard watch >= 0 else {
            throw RuntimeError(.storageFailed, "\(directory) cannot be watched: \(String(errno: errno))")
        }
        continuation.onTermination = { [weak self] _ in self?.remove(watch, id) }
        return stream
    }

    private func remove(_ watch: Int32, _ id: UInt64) {
        state.withLock { state in
            state.watches[watch]?.readers[id] = nil
            if let left = state.watches[watch], left.readers.isEmpty {
                state.watches[watch] = nil
                inotify_rm_watch(descriptor, watch)
            }
        }
    }

    private func readEvents() {
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        var changed: Set<Int32> = []
        var gone: Set<Int32> = []
        var hasOverflowed = false
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            buffer.withUnsafeBytes { bytes in
                var position = 0
                while position + 16 <= count {
                    let watch = bytes.loadUnaligned(fromByteOffset: position, as: Int32.self)
                    let mask = bytes.loadUnaligned(fromByteOffset: position + 4, as: UInt32.self)
                    changed.insert(watch)
                    if mask & UInt32(IN_IGNORED) != 0 { gone.insert(watch) }
                    if mask & UInt32(IN_Q_OVERFLOW) != 0 { hasOverflowed = true }
                    position += 16 + Int(clamping: bytes.loadUnaligned(fromByteOffset: position + 12, as: UInt32.self))
                }
            }
        }
        let readers = state.withLock { state in
            state.watches.filter { hasOverflowed || changed.contains($0.key) }.flatMap { $0.value.readers.values }
        }
        for reader in readers { reader.yield() }
        // The kernel has dropped these watches and may give their numbers again. What was signalled last is still read.
        let ended = state.withLock { state in
            gone.compactMap { state.watches.removeValue(forKey: $0) }.flatMap { $0.readers.values }
        }
        for reader in ended { reader.finish() }
    }
}
