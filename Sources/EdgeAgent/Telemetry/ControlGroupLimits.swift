/// What the control groups around this process allow, and how much of it is used: in a container that is what there is,
/// whatever `/proc/meminfo` says of the machine below it.
struct ControlGroupLimits {
    /// The tightest memory limit.
    struct Memory: Equatable {
        var limitBytes: UInt64
        /// In use, without the page cache that is given back at once.
        var usedBytes: UInt64
    }

    /// The tightest processor limit.
    struct Processor: Equatable {
        var cores: Double
        /// Of everything under the limit, since it was made; nil where the kernel does not count.
        var usedSeconds: Double?
    }

    /// Version 1 says "no limit" with the largest number of whole pages.
    private static let unlimited: UInt64 = 1 << 62

    private let places: ControlGroupPlaces

    /// Looks where this process is; it is not moved while it runs.
    init(paths: SystemPaths = SystemPaths()) {
        var groups = SmallFileReader()
        var mounts = SmallFileReader()
        // A kernel without control groups has neither file.
        places = ControlGroupPlaces(
            groups: (try? groups.read("\(paths.proc)/self/cgroup")) ?? [],
            mounts: (try? mounts.read("\(paths.proc)/self/mountinfo")) ?? []
        )
    }

    func memory(_ reader: inout SmallFileReader) -> Memory? {
        var tightest: (limit: UInt64, place: String, isVersion2: Bool)?
        for (places, file, isVersion2) in [
            (places.unified, "memory.max", true), (places.memory, "memory.limit_in_bytes", false),
        ] {
            for place in places {
                guard let limit = Self.number("\(place)/\(file)", &reader), limit < Self.unlimited else { continue }
                if limit < tightest?.limit ?? .max { tightest = (limit, place, isVersion2) }
            }
        }
        guard let tightest else { return nil }
        let current = tightest.isVersion2 ? "memory.current" : "memory.usage_in_bytes"
        let used = Self.number("\(tightest.place)/\(current)", &reader) ?? 0
        let cache = Self.value(
            tightest.isVersion2 ? "inactive_file" : "total_inactive_file",
            "\(tightest.place)/memory.stat",
            &reader
        )
        return Memory(limitBytes: tightest.limit, usedBytes: used - min(used, cache ?? 0))
    }

    func processor(_ reader: inout SmallFileReader) -> Processor? {
        var tightest: Processor?
        for place in places.unified {
            guard let bytes = try? reader.read("\(place)/cpu.max"), let cores = Self.cores(bytes),
                cores < tightest?.cores ?? .infinity
            else { continue }
            let used = Self.value("usage_usec", "\(place)/cpu.stat", &reader)
            tightest = Processor(cores: cores, usedSeconds: used.map { Double($0) / 1e6 })
        }
        for (depth, place) in places.cpu.enumerated() {
            guard let quota = Self.number("\(place)/cpu.cfs_quota_us", &reader),
                let period = Self.number("\(place)/cpu.cfs_period_us", &reader), period > 0
            else { continue }
            let cores = Double(quota) / Double(period)
            guard cores < tightest?.cores ?? .infinity else { continue }
            // Accounting may be mounted elsewhere; the same number of levels up is the same group.
            let accounting = places.cpuacct.count == places.cpu.count ? places.cpuacct[depth] : place
            let used = Self.number("\(accounting)/cpuacct.usage", &reader)
            tightest = Processor(cores: cores, usedSeconds: used.map { Double($0) / 1e9 })
        }
        return tightest
    }

    /// `cpu.max`: `quota period` in microseconds, the quota `max` where there is none.
    static func cores(_ bytes: ArraySlice<UInt8>) -> Double? {
        var fields = ByteCursor(bytes.prefix { $0 != UInt8(ascii: "\n") })
        guard let quota = fields.unsigned(), let period = fields.unsigned(), period > 0 else { return nil }
        return Double(quota) / Double(period)
    }

    /// A file that holds one number; nil for `max`, `-1` and a file that is missing.
    static func number(_ path: String, _ reader: inout SmallFileReader) -> UInt64? {
        guard let bytes = try? reader.read(path) else { return nil }
        return ByteCursor.unsigned(bytes.prefix { $0 != UInt8(ascii: "\n") })
    }

    /// The number behind a name in a file of lines `name number`.
    static func value(_ name: String, _ path: String, _ reader: inout SmallFileReader) -> UInt64? {
        guard let bytes = try? reader.read(path) else { return nil }
        var lines = ByteCursor(bytes)
        while let line = lines.line() {
            var fields = ByteCursor(line)
            if fields.field()?.elementsEqual(name.utf8) == true { return fields.unsigned() }
        }
        return nil
    }
}
