import CLinux
import Glibc
import WireFormat

/// One process, told apart from a later one with the same number by the time it was started.
struct ProcessIdentity: Sendable, Hashable, Codable {
    let pid: pid_t
    /// Clock ticks since boot, as the kernel counts them.
    let startTime: UInt64

    enum CodingKeys: String, CodingKey {
        case pid
        case startTime = "start_time"
    }

    /// The process that has this number now; nil where there is none.
    static func current(_ pid: pid_t) -> ProcessIdentity? {
        SystemProcesses.entry(pid).map { ProcessIdentity(pid: pid, startTime: $0.startTime) }
    }

    /// Whether this very process still exists and is no zombie.
    var isAlive: Bool {
        guard let entry = SystemProcesses.entry(pid) else { return false }
        return entry.startTime == startTime && !entry.isZombie
    }

    /// A descriptor that becomes readable when the process ends; nil where it has ended already. The caller closes it.
    func open() -> Int32? {
        let descriptor = CLinux_pidfd_open(pid)
        guard descriptor >= 0 else { return nil }
        // Checked after opening: from now on the descriptor cannot come to mean another process.
        guard isAlive else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    /// Sends a signal to this very process; false where it is gone or may not be signalled.
    @discardableResult
    func signal(_ number: Int32) -> Bool {
        guard let descriptor = open() else { return false }
        defer { close(descriptor) }
        return CLinux_pidfd_send_signal(descriptor, number) == 0
    }
}

/// What `/proc` says about processes.
enum SystemProcesses {
    struct Entry: Sendable {
        let pid: pid_t
        let isZombie: Bool
        /// By a signal, or by who traces it.
        let isStopped: Bool
        let parent: pid_t
        let session: pid_t
        let cpuTicks: UInt64
        /// Of children that have ended and were waited for.
        let endedChildrenTicks: UInt64
        let threads: UInt32
        let startTime: UInt64
        let residentPages: UInt64

        var identity: ProcessIdentity { ProcessIdentity(pid: pid, startTime: startTime) }
    }

    /// The process with this number, or nil.
    static func entry(_ pid: pid_t) -> Entry? {
        guard let text = PseudoFile.read("/proc/\(pid)/stat", limit: 4096) else { return nil }
        // The name in brackets may hold anything, also brackets; the last one ends it.
        guard let end = text.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = text[(end + 1)...].split(separator: UInt8(ascii: " "))
        guard fields.count > 21 else { return nil }
        // fits: text; 0 where it is no number of 64 bits.
        func number(_ index: Int) -> Int64 { Int64(String(decoding: fields[index], as: UTF8.self)) ?? 0 }
        return Entry(
            pid: pid,
            isZombie: fields[0].first == UInt8(ascii: "Z") || fields[0].first == UInt8(ascii: "X"),
            isStopped: fields[0].first == UInt8(ascii: "T") || fields[0].first == UInt8(ascii: "t"),
            parent: pid_t(clamping: number(1)),
            session: pid_t(clamping: number(3)),
            cpuTicks: UInt64(clamping: max(0, number(11).clampedAdding(number(12)))),
            endedChildrenTicks: UInt64(clamping: max(0, number(13).clampedAdding(number(14)))),
            threads: UInt32(clamping: number(17)),
            startTime: UInt64(clamping: max(0, number(19))),
            residentPages: UInt64(clamping: max(0, number(21)))
        )
    }

    /// Every process that can be seen.
    static func all() -> [Entry] {
        guard let stream = opendir("/proc") else { return [] }
        defer { closedir(stream) }
        var entries: [Entry] = []
        while let item = readdir(stream) {
            let name = withUnsafePointer(to: &item.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = pid_t(decimal: name), let entry = entry(pid) else { continue }
            entries.append(entry)
        }
        return entries
    }

    /// The children of `pid`, their children and so on; `pid` itself is not among them.
    static func descendants(of pid: pid_t, in table: [Entry] = all()) -> [Entry] {
        let children = Dictionary(grouping: table, by: \.parent)
        var found: [Entry] = []
        var next = [pid]
        while let parent = next.popLast() {
            for child in children[parent] ?? [] where child.pid != pid {
                found.append(child)
                next.append(child.pid)
            }
        }
        return found
    }

    /// "sleep (pid 12)", with how many more there are; nil where there is none.
    static func words(_ pids: [pid_t]) -> String? {
        guard let first = pids.min() else { return nil }
        let name = PseudoFile.read("/proc/\(first)/comm") ?? []
        let text = String(decoding: name.prefix { $0 >= 0x20 }, as: UTF8.self)
        let more = pids.count > 1 ? " and \(pids.count - 1) more" : ""
        return "\(text.isEmpty ? "a process" : text) (pid \(first))\(more)"
    }

    /// The process itself, what started it, what started that, and so on.
    static func ancestry(of pid: pid_t) -> Set<pid_t> {
        var found: Set<pid_t> = []
        var next = pid
        while next > 0, found.insert(next).inserted, let entry = entry(next) { next = entry.parent }
        return found
    }

    /// The processes whose environment at start held `text`, which children inherit wherever they go.
    static func carrying(_ text: String) -> [Entry] {
        let wanted = Array(text.utf8)
        return all().filter { entry in
            guard !entry.isZombie, let environment = PseudoFile.read("/proc/\(entry.pid)/environ", limit: 256 << 10)
            else {
                return false
            }
            return environment.split(separator: 0).contains { $0.elementsEqual(wanted) }
        }
    }
}
