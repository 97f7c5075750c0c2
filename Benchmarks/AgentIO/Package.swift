// swift-tools-version: 6.2

import PackageDescription

// Compares two ways for the agent to do its I/O. A package of its own: the agent never builds SwiftNIO.
// The targets that lie elsewhere in the repository are symbolic links in Sources/.
let package = Package(
    name: "agent-io",
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2")
    ],
    targets: [
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl"),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib"),
        .systemLibrary(name: "CLinux"),
        .target(name: "Scenario"),
        // The kit is compiled into the program: its streams are internal to it.
        .executableTarget(
            name: "EpollAgentIO",
            dependencies: ["Scenario", "COpenSSL", "CZlib", "CLinux"],
            swiftSettings: [
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("InternalImportsByDefault"),
            ]
        ),
        .executableTarget(
            name: "NIOAgentIO",
            dependencies: [
                "Scenario", "COpenSSL",
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOPosix", package: "swift-nio"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)
