import ServiceReport
import WireFormat

/// The status for people: lines of `name  text`, about ten, the bots' one each. In colour on a terminal; the same words
/// without it.
struct StatusText {
    var isColoured: Bool
    /// Wall clock in milliseconds since 1970.
    var now: UInt64
    /// More bots than these are counted, not listed.
    static let maximumBots = 50

    func lines(_ report: StatusReport) -> [String] {
        var lines: [String] = []
        func add(_ name: String, _ text: String) {
            lines.append(pad(name, 9) + TerminalText.safe(text, keepsOwn: isColoured, substitute: "?"))
        }
        add("node", node(report))
        add("agent", agent(report.agent))
        add("hub", report.hub.map { $0.url + ($0.version.map { ", version \($0)" } ?? "") } ?? "none")
        add("link", link(report.link))
        if report.link.state != .connected {
            let fault = report.link.fault == .none ? "not known yet" : "\(report.link.fault.words)"
            add("at fault", paint(fault, "1;31"))
            if !report.link.reason.isEmpty { add("reason", report.link.reason) }
        }
        for problem in report.problems { add("problem", paint(problem.message, "1;31")) }
        add("bots", bots(report.bots))
        let width = report.bots.prefix(Self.maximumBots).map { title($0).count }.max() ?? 0
        for bot in report.bots.prefix(Self.maximumBots) { add("", self.bot(bot, width)) }
        if report.bots.count > Self.maximumBots {
            add("", "… and \(report.bots.count - Self.maximumBots) more (--json)")
        }
        if let placement = report.placement { add("limits", limits(placement)) }
        add("journal", journal(report))
        if let disk = report.disk { add("disk", self.disk(disk)) }
        let closed = "none: what this node's profiles name; a hub gives bots their configuration and names nothing else"
        add("policy", report.policyFile ?? closed)
        return lines
    }

    private func node(_ report: StatusReport) -> String {
        guard let node = report.node, !(node.name.isEmpty && node.id.isEmpty) else { return "not paired" }
        return node.name.isEmpty ? node.id : node.id.isEmpty ? node.name : "\(node.name) (\(node.id))"
    }

    private func agent(_ agent: StatusReport.Agent) -> String {
        guard agent.isRunning else { return paint("not running", "1;31") + ", \(agent.stateDirectory)" }
        let since = agent.sinceUnixMs.map { ", for \(age($0))" } ?? ""
        return
            "\(paint("running", "32"))\(since), version \(agent.version), pid \(agent.pid ?? 0), \(agent.stateDirectory)"
    }

    private func link(_ link: StatusReport.Link) -> String {
        let since = link.sinceUnixMs.map { " for \(age($0)) (since \(time($0)))" } ?? ""
        switch link.state {
        case .connected:
            let trip = link.roundTripMs.map { ", round trip \(decimal($0)) ms" } ?? ""
            return paint("up", "32") + since + trip + (link.sessionEpoch.map { ", session \($0)" } ?? "")
        case .connecting: return paint("down", "33") + since + ", connecting"
        case .waiting:
            let next = link.nextTrySeconds.map { ", next try in \(Int(saturating: $0.rounded(.up))) s" } ?? ""
            return paint("down", "1;31") + since + ", \(link.failedTries) tries failed" + next
        case .credentialProblem: return paint("refused", "1;31") + since + ", bots run on"
        case .noAgent: return paint("down", "1;31") + ", nobody dials"
        case .notPaired: return "none"
        }
    }

    private func bots(_ bots: [StatusReport.Bot]) -> String {
        guard !bots.isEmpty else { return "none" }
        let counts = Dictionary(grouping: bots, by: \.phase).mapValues(\.count)
        return "\(bots.count): "
            + counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
    }

    private func limits(_ placement: BotPlacement) -> String {
        let kept = placement.limits.isEmpty ? "none" : placement.limits.joined(separator: ", ")
        let holder = placement.holderPID.map { " (holder: pid \($0))" } ?? ""
        let place = placement.directory.map { " by control groups below \($0)\(holder)" } ?? ""
        return placement.shortfall.isEmpty
            ? kept + place : paint(kept, "33") + " by control groups: \(placement.shortfall)"
    }

    private func title(_ bot: StatusReport.Bot) -> String { bot.name.isEmpty ? bot.id : bot.name }

    private func bot(_ bot: StatusReport.Bot, _ width: Int) -> String {
        let colour =
            switch bot.phase {
            case "ready", "running": "32"
            case "failed", "backoff", "unknown": "1;31"
            case "stopped": "2"
            default: "33"
            }
        var parts = [bot.sinceUnixMs.map { "for \(age($0))" }, bot.pid.map { "pid \($0)" }].compactMap(\.self)
        if bot.restarts > 0 { parts.append("\(bot.restarts) restarts") }
        let open = (bot.isolation ?? []).filter { $0.mechanism == .none && $0.aspect != .user }.map(\.aspect.rawValue)
        if bot.isolation != nil {
            parts.append(open.isEmpty ? "isolated" : "isolated but for \(open.joined(separator: ", "))")
        }
        if !bot.reason.isEmpty { parts.append(bot.reason) }
        return pad(title(bot), width) + "  " + paint(pad(bot.phase, 8), colour) + "  " + parts.joined(separator: ", ")
    }

    private func journal(_ report: StatusReport) -> String {
        guard let journal = report.journal else { return report.journalProblem ?? "none yet" }
        let share = journal.budgetBytes > 0 ? 100 * Double(journal.bytes) / Double(journal.budgetBytes) : 0
        let oldest = journal.oldestUnixMs.map { ", the oldest \(age($0)) old" } ?? ""
        return
            "\(journal.packets) packets wait for the hub\(oldest); \(bytes(journal.bytes)) of \(bytes(journal.budgetBytes)) "
            + "(\(decimal(share)) %)"
    }

    private func disk(_ disk: StatusReport.Disk) -> String {
        let share = disk.totalBytes > 0 ? 100 * Double(disk.availableBytes) / Double(disk.totalBytes) : 0
        let text = "\(bytes(disk.availableBytes)) of \(bytes(disk.totalBytes)) free (\(decimal(share)) %)"
        return (share < 5 ? paint(text, "1;31") : text) + "; logs hold \(bytes(disk.logBytes))"
    }

    // MARK: Words

    private func paint(_ text: String, _ colour: String) -> String {
        isColoured ? "\u{1B}[\(colour)m\(text)\u{1B}[0m" : text
    }

    private func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    /// How long ago.
    private func age(_ since: UInt64) -> String {
        let seconds = now > since ? (now - since) / 1000 : 0
        switch seconds {
        case ..<120: return "\(seconds) s"
        case ..<7200: return "\(seconds / 60) min"
        case ..<172_800: return "\(seconds / 3600) h"
        default: return "\(seconds / 86_400) days"
        }
    }

    private func time(_ milliseconds: UInt64) -> String { LocalTime.text(milliseconds) }

    private func decimal(_ value: Double) -> String {
        guard value.isFinite, value.magnitude < 1e12 else { return "?" }
        let tenths = Int(saturating: (value * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\((tenths % 10).magnitude)"
    }

    private func bytes(_ count: UInt64) -> String {
        var value = Double(count)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1000 { return "\(decimal(value)) \(unit)" }
            value /= 1024
        }
        return "\(decimal(value)) TiB"
    }
}
