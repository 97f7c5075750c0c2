import WireFormat

/// What the placement of one bot adds to its profile.
struct ProfileOverrides: Sendable, Equatable, Codable {
    /// More is a mistake of whoever sends it.
    private static let maximumVariables = 256

    /// The profile's own variables win.
    var environment: [String: String] = [:]
    /// Narrow the profile's.
    var limits = ResourceLimits()
    var restart: RestartPolicy?
    /// Instead of the profile's; nil also in records of earlier agents.
    var image: String?

    init() {}

    /// Nothing but another image; empty: the profile's.
    init(image: String) {
        self.image = image.isEmpty ? nil : image
    }

    /// - Throws: `invalidSpecification` that names the field.
    init(_ specification: WireBotSpecification) throws(RuntimeError) {
        environment = specification.environment
        for (name, value) in environment {
            let isName = !name.isEmpty && !name.utf8.contains { $0 == UInt8(ascii: "=") || $0 == 0 }
            guard isName, !value.utf8.contains(0) else {
                throw RuntimeError(
                    .invalidSpecification,
                    "\"\(name.prefix(80))\" is no name of an environment variable"
                )
            }
            guard !name.hasPrefix("BOT_"), name != "HOME" else {
                throw RuntimeError(
                    .invalidSpecification,
                    "\(name) is the agent's to set; take it out of the environment"
                )
            }
        }
        guard environment.count <= Self.maximumVariables else {
            throw RuntimeError(.invalidSpecification, "more than \(Self.maximumVariables) environment variables")
        }
        limits = ResourceLimits(specification.limits)
        if !specification.restartPolicy.isEmpty {
            guard let policy = RestartPolicy(rawValue: specification.restartPolicy) else {
                let known = RestartPolicy.allCases.map(\.rawValue).joined(separator: ", ")
                throw RuntimeError(
                    .invalidSpecification,
                    "\"\(specification.restartPolicy.prefix(80))\" is no restart policy; there are: \(known)"
                )
            }
            restart = policy
        }
        image = specification.image.isEmpty ? nil : specification.image
    }

    /// - Throws: `invalidSpecification` where it names an image and the profile runs programs.
    func checkFit(_ profile: RuntimeProfile) throws(RuntimeError) {
        guard let image, profile.container == nil else { return }
        throw RuntimeError(
            .invalidSpecification,
            "the profile \(profile.name) runs programs, not the image \"\(image.prefix(200))\"; choose a profile of the "
                + "backend docker, or leave the image out"
        )
    }

    func applied(to profile: RuntimeProfile) -> RuntimeProfile {
        var result = profile
        result.environment = environment.merging(profile.environment) { _, own in own }
        result.limits = profile.limits.narrowed(by: limits)
        result.restart = restart ?? profile.restart
        if let image {
            result.container?.image = image
            // The policy tells what the node's owner names from what a hub names.
            result.container?.imageOrigin = .hub
        }
        return result
    }
}

extension ResourceLimits {
    init(_ wire: WireResourceLimits) {
        memoryBytes = wire.memoryBytes > 0 ? wire.memoryBytes : nil
        cpuMilli = wire.cpuMilli > 0 ? UInt64(clamping: wire.cpuMilli) : nil
        pids = wire.pids > 0 ? UInt64(clamping: wire.pids) : nil
        openFiles = wire.openFiles > 0 ? UInt64(clamping: wire.openFiles) : nil
    }

    var wire: WireResourceLimits {
        var wire = WireResourceLimits()
        wire.memoryBytes = memoryBytes ?? 0
        wire.cpuMilli = UInt32(clamping: cpuMilli ?? 0)
        wire.pids = UInt32(clamping: pids ?? 0)
        wire.openFiles = UInt32(clamping: openFiles ?? 0)
        return wire
    }
}
