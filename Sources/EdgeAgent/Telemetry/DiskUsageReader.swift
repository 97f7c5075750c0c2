import Dispatch
import Glibc
import SwiftProtobuf
import Synchronization
import WireFormat

/// How full the node's disks are.
///
/// `statvfs` waits for the disk, and a dying one may never answer. It therefore runs on a thread of its own: a caller
/// waits `patience` for the figures and then gets those of the time before, until the disk has answered.
final class DiskUsageReader: Sendable {
    /// What a file system says about itself.
    struct Space: Equatable, Sendable {
        var totalBytes: UInt64
        /// For programs without privileges, as `df` shows it.
        var availableBytes: UInt64
    }

    private struct State {
        var latest: [WireDiskUsage] = []
        var isReading = false
    }

    /// Local file systems answer within microseconds; this is as long as a heartbeat may be held up once.
    static let defaultPatience = DispatchTimeInterval.milliseconds(500)

    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "edge-agent.telemetry.disks")
    private let patience: DispatchTimeInterval
    private let space: @Sendable (_ mountPoint: String) -> Space?

    init(
        patience: DispatchTimeInterval = DiskUsageReader.defaultPatience,
        space: @escaping @Sendable (_ mountPoint: String) -> Space? = DiskUsageReader.spaceOfFileSystem
    ) {
        self.patience = patience
        self.space = space
    }

    /// The usage of each mount, those that cannot be asked or hold nothing left out. Blocks for up to `patience`.
    func usage(of mounts: [ProcMounts.Mount]) -> [WireDiskUsage] {
        let mayStart = state.withLock { state in
            defer { state.isReading = true }
            return !state.isReading
        }
        if mayStart {
            let finished = DispatchSemaphore(value: 0)
            queue.async { [self] in
                let usage = mounts.compactMap(usage(of:))
                state.withLock { state in
                    state.latest = usage
                    state.isReading = false
                }
                finished.signal()
            }
            _ = finished.wait(timeout: .now() + patience)
        }
        return state.withLock { $0.latest }
    }

    private func usage(of mount: ProcMounts.Mount) -> WireDiskUsage? {
        guard let space = space(mount.mountPoint), space.totalBytes > 0 else { return nil }
        return WireDiskUsage.with {
            $0.mountPoint = mount.mountPoint
            $0.device = mount.device
            $0.fileSystem = mount.fileSystem
            $0.totalBytes = space.totalBytes
            $0.availableBytes = space.availableBytes
        }
    }

    /// Asks the kernel; nil for what is no directory (a container has single files mounted) or cannot be asked.
    static func spaceOfFileSystem(at mountPoint: String) -> Space? {
        var status = stat()
        guard stat(mountPoint, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else { return nil }
        var values = statvfs()
        guard statvfs(mountPoint, &values) == 0 else { return nil }
        return Space(values)
    }
}

extension DiskUsageReader.Space {
    init(_ values: statvfs) {
        let unit = UInt64(clamping: values.f_frsize)
        totalBytes = UInt64(clamping: values.f_blocks).clampedMultiplied(by: unit)
        availableBytes = UInt64(clamping: values.f_bavail).clampedMultiplied(by: unit)
    }
}
