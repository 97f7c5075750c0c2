/// `/proc/stat`: time spent by the processors, and when the system started.
///
/// ```
/// cpu  user nice system idle iowait irq softirq steal guest guest_nice
/// cpu0 ...
/// btime 1700000000
/// ```
/// `guest` is contained in `user`, and `guest_nice` in `nice` (proc_stat(5)), so they are not read.
struct ProcStat: Equatable, Sendable {
    /// Clock ticks since boot, summed over all cores.
    var ticks: CPUTicks
    /// Cores that are online.
    var cpuCount: Int
    /// Seconds since 1970; nil where the kernel does not say.
    var bootTimeSeconds: UInt64?

    /// - Throws: `malformed` where the line of all cores is missing or not numeric.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var ticks: CPUTicks?
        cpuCount = 0
        while let line = lines.line() {
            var fields = ByteCursor(line)
            guard let name = fields.field() else { continue }
            if name.elementsEqual("cpu".utf8) {
                ticks = CPUTicks(fields: &fields)
            } else if name.starts(with: "cpu".utf8), ByteCursor.unsigned(name.dropFirst(3)) != nil {
                cpuCount += 1
            } else if name.elementsEqual("btime".utf8) {
                bootTimeSeconds = fields.unsigned()
                break
            }
        }
        guard let ticks else { throw .malformed("stat", "there is no usable \"cpu\" line") }
        self.ticks = ticks
        // A kernel for one processor alone may leave the per-core lines out.
        cpuCount = max(cpuCount, 1)
    }
}

/// Clock ticks by what a processor did with them.
struct CPUTicks: Equatable, Sendable {
    var user: UInt64 = 0
    var nice: UInt64 = 0
    var system: UInt64 = 0
    var idle: UInt64 = 0
    var iowait: UInt64 = 0
    var irq: UInt64 = 0
    var softirq: UInt64 = 0
    var steal: UInt64 = 0

    init(
        user: UInt64 = 0,
        nice: UInt64 = 0,
        system: UInt64 = 0,
        idle: UInt64 = 0,
        iowait: UInt64 = 0,
        irq: UInt64 = 0,
        softirq: UInt64 = 0,
        steal: UInt64 = 0
    ) {
        (self.user, self.nice, self.system, self.idle) = (user, nice, system, idle)
        (self.iowait, self.irq, self.softirq, self.steal) = (iowait, irq, softirq, steal)
    }

    /// Reads the numbers after the name; the first four are required, later kernels added the others one by one.
    init?(fields: inout ByteCursor) {
        guard let user = fields.unsigned(), let nice = fields.unsigned(), let system = fields.unsigned(),
            let idle = fields.unsigned()
        else { return nil }
        self.init(user: user, nice: nice, system: system, idle: idle)
        iowait = fields.unsigned() ?? 0
        irq = fields.unsigned() ?? 0
        softirq = fields.unsigned() ?? 0
        steal = fields.unsigned() ?? 0
    }

    /// The part of the time since `earlier` in which the processors were not idle, in percent (0–100) of all of them
    /// together; nil where no time has passed.
    ///
    /// Waiting for a disk is idle time, time stolen by the host is not: the same as `top` shows. A counter that went
    /// backwards, which the kernel allows itself for `idle` and `iowait`, counts as not having moved.
    func busyPercent(since earlier: CPUTicks) -> Double? {
        func delta(_ counter: KeyPath<CPUTicks, UInt64>) -> Double {
            let (now, before) = (self[keyPath: counter], earlier[keyPath: counter])
            return now > before ? Double(now - before) : 0
        }
        let busy =
            delta(\.user) + delta(\.nice) + delta(\.system) + delta(\.irq) + delta(\.softirq) + delta(\.steal)
        let total = busy + delta(\.idle) + delta(\.iowait)
        return total > 0 ? 100 * busy / total : nil
    }
}
