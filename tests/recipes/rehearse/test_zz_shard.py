import pytest
from tests.recipes.rehearse.conftest import *
from tests.recipes.rehearse.test_patches import _answer
def test_it(forks, stage):
    big=[("model.config.hidden_size",1024),("model.config.num_attention_heads",16),("model.config.num_key_value_heads",8),("model.config.intermediate_size",4096),("model.config.vocab_size",32000),("model.config.num_hidden_layers",4),("model.config.max_position_embeddings",2048),("dataset.seq_length",1024),("model.config.tie_word_embeddings",False)]
    for tp,n,extra in ((2,8,[]),(8,64,[]),(2,8,[("distributed.sequence_parallel",True)]),(1,8,[])):
        c=stage.request(*big,*extra,("distributed.tp_size",tp),("step_scheduler.global_batch_size",64),("step_scheduler.local_batch_size",1),memory=True,world_size=n,processes_per_node=8)
        a,b=_answer(forks,c),_answer(forks,c,"sharding.apply")
        print("RES",tp,n,extra,a["memory"] or a["refusal"],b["memory"] or b["refusal"])
