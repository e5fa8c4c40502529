//! Clients of other projects that should work as they are.

use anyhow::{Result, ensure};
use weir_tests::house::House;
use weir_tests::python;

pub(crate) async fn openmeter_ingests_unchanged(house: &mut House) -> Result<()> {
    let tenant = house.create_tenant("openmeter", "plain").await?;
    let api = house.settings.api();
    let said = tokio::task::block_in_place(|| {
        let variables = [
            ("WEIR_URL", api.as_str()),
            ("WEIR_KEY", house.platform_key.as_str()),
            ("TENANT", tenant.as_str()),
        ];
        python::run("openmeter_client.py", &["openmeter==1.0.0b236"], &variables)
    })?;
    ensure!(said.contains("ingested 3"), "the client said: {said}");
    house.expect_usage(&tenant, "calls", "2", 2).await?;
    house.expect_usage(&tenant, "bytes", "1.5", 1).await
}
