import Glibc
import WireFormat

/// How old something in the journal is, without asking the wall clock.
///
/// Counts milliseconds while the machine runs, also while the agent does not, and goes on after a reboot where it was
/// last written down. A wall clock that jumps by years makes nothing old. It begins at the wall clock's time, so that
/// its values look like times to people.
struct JournalClock: Sendable {
    /// What it stands on; injected in tests.
    struct Source: Sendable {
        /// Milliseconds since boot, suspended time included.
        var sinceBoot: @Sendable () -> UInt64
        /// Another one after each boot.
        var bootID: String
    }

    /// As written down, to go on from.
    struct Mark: Sendable, Equatable {
        var milliseconds: UInt64
        var sinceBoot: UInt64
        var bootID: String
    }

    private let source: Source
    private let base: UInt64
    private let began: UInt64

    /// - Parameters:
    ///   - mark: where it was last; nil for a new journal.
    ///   - beginning: where a new one begins.
    init(_ source: Source, after mark: Mark?, beginning: UInt64) {
        self.source = source
        began = source.sinceBoot()
        guard let mark else {
            base = beginning
            return
        }
        let isSameBoot = mark.bootID == source.bootID && began >= mark.sinceBoot
        base = mark.milliseconds + (isSameBoot ? began - mark.sinceBoot : 0)
    }

    var now: UInt64 { base + (source.sinceBoot() - began) }

    var mark: Mark {
        let sinceBoot = source.sinceBoot()
        return Mark(milliseconds: base + (sinceBoot - began), sinceBoot: sinceBoot, bootID: source.bootID)
    }
}

extension JournalClock.Source {
    /// Where it cannot be read every start counts as a boot, which only makes things younger.
    private static var bootID: String {
        guard let text = try? Files.read("/proc/sys/kernel/random/boot_id") else { return RandomText.hex(bytes: 8) }
        return String(decoding: text.filter { $0 > 0x20 }, as: UTF8.self)
    }

    static var system: Self {
        Self(
            sinceBoot: { BootTime.milliseconds() },
            bootID: bootID
        )
    }
}

extension JournalClock.Mark {
    /// For the journal's table of small things.
    var text: String { "\(milliseconds) \(sinceBoot) \(bootID)" }

    init?(_ text: String) {
        let parts = text.split(separator: " ")
        guard parts.count == 3, let milliseconds = UInt64(decimal: parts[0]), let sinceBoot = UInt64(decimal: parts[1])
        else {
            return nil
        }
        self.init(milliseconds: milliseconds, sinceBoot: sinceBoot, bootID: String(parts[2]))
    }
}
