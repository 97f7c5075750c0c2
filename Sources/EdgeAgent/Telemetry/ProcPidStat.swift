/// `/proc/<pid>/stat`: one process.
///
/// `pid (name) state ppid …`; the name is the program's own and may contain blanks, newlines and parentheses, so the
/// fields are counted from the *last* closing one. Field numbers as in proc_pid_stat(5).
struct ProcPidStat: Equatable, Sendable {
    var pid: Int32
    var parent: Int32
    /// Of the process itself, `utime` and `stime` (14, 15).
    var ownTicks: UInt64
    /// Of the children it has waited for, and of theirs, `cutime` and `cstime` (16, 17).
    var reapedTicks: UInt64
    var threadCount: UInt32
    /// Ticks from boot to the process's start (22): with the pid this names a process for good.
    var startTicks: UInt64
    /// Resident memory in pages (24).
    var residentPages: UInt64

    init(
        pid: Int32,
        parent: Int32,
        ownTicks: UInt64,
        reapedTicks: UInt64,
        threadCount: UInt32,
        startTicks: UInt64,
        residentPages: UInt64
    ) {
        (self.pid, self.parent, self.ownTicks, self.reapedTicks) = (pid, parent, ownTicks, reapedTicks)
        (self.threadCount, self.startTicks, self.residentPages) = (threadCount, startTicks, residentPages)
    }

    /// - Throws: `malformed` where a needed field is missing or no number.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        let broken = TelemetryError.malformed("<pid>/stat", "a field is missing or no number")
        guard let opening = bytes.firstIndex(of: UInt8(ascii: "(")),
            let closing = bytes.lastIndex(of: UInt8(ascii: ")")), opening < closing
        else { throw broken }
        var head = ByteCursor(bytes[..<opening])
        var tail = ByteCursor(bytes[(closing + 1)...].prefix { $0 != UInt8(ascii: "\n") })
        tail.skip(1)
        let pid = head.unsigned().flatMap(Int32.init(exactly:))
        let parent = tail.unsigned().flatMap(Int32.init(exactly:))
        tail.skip(9)
        guard let pid, let parent, let user = tail.unsigned(), let system = tail.unsigned(),
            let reapedUser = tail.unsigned(), let reapedSystem = tail.unsigned()
        else { throw broken }
        tail.skip(2)
        guard let threads = tail.unsigned().flatMap(UInt32.init(exactly:)) else { throw broken }
        tail.skip(1)
        guard let start = tail.unsigned() else { throw broken }
        tail.skip(1)
        guard let resident = tail.unsigned() else { throw broken }
        self.init(
            pid: pid,
            parent: parent,
            ownTicks: user &+ system,
            reapedTicks: reapedUser &+ reapedSystem,
            threadCount: threads,
            startTicks: start,
            residentPages: resident
        )
    }
}
