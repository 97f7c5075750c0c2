import FoundationEssentials
import WireFormat

/// Where the node's policy stands between the hub and its bots.
extension BotFleet {
    /// Checks what the hub asks for beyond the profile.
    ///
    /// - Returns: the configuration to write; empty: the one that is there stays.
    /// - Throws: `refusedByPolicy`.
    func admit(_ specification: WireBotSpecification, _ overrides: ProfileOverrides) throws(RuntimeError) -> [UInt8] {
        let policy = policy.current
        do throws(PolicyRefusal) {
            try policy.check(environment: overrides.environment)
            try policy.check(botCount: bots.count + (bots[specification.botID] == nil ? 1 : 0))
            let wanted = Array(specification.configJson)
            guard !wanted.isEmpty else { return [] }
            guard let refusal = Self.refusal({ () throws(PolicyRefusal) in try policy.checkConfiguration() }) else {
                return wanted
            }
            // The hub sends a configuration with every start. An empty one says nothing, and the same changes nothing.
            let isEmpty = wanted.allSatisfy { "{} \n\r\t".utf8.contains($0) }
            let present = (try? botDirectory(specification.botID)).flatMap { try? Files.read($0 + "/config.json") }
            guard isEmpty || present.map({ CanonicalJSON.isSame($0, wanted) }) == true else { throw refusal }
            return []
        } catch {
            throw .refused(error)
        }
    }

    /// The profile within the node's caps.
    func capped(_ profile: RuntimeProfile) -> RuntimeProfile {
        var result = profile
        result.limits = profile.limits.narrowed(by: ResourceLimits(policy.current.caps))
        return result
    }

    /// Whether what the launch would run out of the workspace is the bot's own and the owner's. Asked before each launch: the
    /// profile, the policy or the links may be others than when the hub wrote.
    ///
    /// - Parameter profile: with what the placement adds to it.
    /// - Throws: `refusedByPolicy`; `storageFailed` where nobody can say what came from the hub.
    func checkCode(_ botID: String, _ profile: RuntimeProfile) throws(RuntimeError) {
        guard Defence.codeLaunches.isUp else { return }
        let path = try botDirectory(botID)
        let code = WorkspaceCode([profile], bot: botID, at: .init(home: path))
        guard !code.claims.isEmpty, let workspace = try? BeneathDirectory(path + "/workspace") else { return }
        let directory = try BotDirectory(root: String(path.dropLast(botID.utf8.count + 1)), botID: botID)
        var found: String?
        do throws(WorkspaceFailure) {
            found = try HubProvenance(directory).first(in: workspace) { code.touched(by: $0) != nil }
        } catch {
            throw RuntimeError(.storageFailed, error.message)
        }
        guard let found, let claim = code.touched(by: found) else { return }
        do throws(PolicyRefusal) {
            try policy.current.check(claim, "launching bot \(botID) with \(found), which came from the hub,")
        } catch {
            throw .refused(error)
        }
    }

    /// Whatever the backend, a bot's log lies in its directory.
    func botDirectory(_ botID: String) throws(RuntimeError) -> String {
        BotDirectory.path(ofLogs: try logDirectory(botID))
    }

    private static func refusal(_ check: () throws(PolicyRefusal) -> Void) -> PolicyRefusal? {
        do throws(PolicyRefusal) {
            try check()
            return nil
        } catch {
            return error
        }
    }
}

extension ResourceLimits {
    init(_ caps: PolicyCaps) {
        func positive(_ value: Int?) -> UInt64? { value.flatMap { $0 > 0 ? UInt64(clamping: $0) : nil } }
        memoryBytes = positive(caps.memoryBytes)
        cpuMilli = positive(caps.cpuPercent).map { $0.clampedMultiplied(by: 10) }
        pids = positive(caps.processes)
        openFiles = positive(caps.openFiles)
    }
}
